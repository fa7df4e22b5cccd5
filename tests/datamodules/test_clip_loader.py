"""Loaders over real tars: the plans' promises hold through worker processes, and errors come out whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import stream_plan
from datamodules.batch_order import BatchOrder
from datamodules.clip_loader import EvalLoader, TrainLoader
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.shards import INDEX, read_index, read_samples, write_shard
from earshot.errors import InputError
from tests.datamodules.made_clips import clip_media, jpeg, wav

BOTH = ClipFormat(sampling_rate=1000, image_size=8)
SOUND = ClipFormat(sampling_rate=1000)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores


def ids(batches: Iterable[ClipBatch]) -> list[list[str]]:
    return [batch.clip_ids for batch in batches]


def flat(lists: Iterable[list[str]]) -> list[str]:
    return [clip_id for one in lists for clip_id in one]


@pytest.mark.parametrize("world, workers", [(1, 0), (1, 9), (2, 2)])
def test_eval_gives_every_clip_once_with_its_own_content(uneven: tuple, world: int, workers: int) -> None:
    folder, all_ids = uneven
    shards, given = read_index(folder), []
    for rank in range(world):
        loader = EvalLoader(shards, BOTH, 8, BatchOrder(rank, world), num_workers=workers)
        batches = list(loader)
        assert len(batches) == len(loader)
        given += flat(ids(batches))
        for batch in batches:
            for row, clip_id in enumerate(batch.clip_ids):
                number = int(clip_id.split(".")[1])
                assert batch.num_samples[row] == number + 1
                assert (batch.waveforms[row, : number + 1] == number).all()
                assert (batch.waveforms[row, number + 1 :] == 0).all()
                assert batch.captions[row] == [f"caption {number}"]
            assert batch.images.shape[1:] == (3, 8, 8) and batch.images.dtype == torch.uint8
    assert sorted(given) == sorted(all_ids)
    if workers < 2:
        assert given == all_ids


def test_short_ranks_fill_up_with_invalid_batches(pack: Callable) -> None:
    shards = read_index(pack({f"clip{number}": clip_media(number, 1) for number in range(3)}))
    per_rank = [list(EvalLoader(shards, BOTH, 2, BatchOrder(rank, 4))) for rank in range(4)]
    assert [len(batches) for batches in per_rank] == [1] * 4
    valid = [batch.valid for batches in per_rank for batch in batches]
    assert sorted(valid) == [False, True, True, True]
    assert sorted(flat(ids(batch for batches in per_rank for batch in batches))) == [
        "clip0",
        "clip1",
        "clip2",
    ]


@pytest.mark.parametrize("workers", [0, 3, 9])
def test_train_epochs_differ_and_resume_exactly(uneven: tuple, workers: int) -> None:
    shards = read_index(uneven[0])
    position = 0
    order = BatchOrder(world_size=2, position=lambda: position)
    loader = TrainLoader(shards, SOUND, 4, order, num_workers=workers, window=7)
    assert len(loader) == 78 // 8
    first = ids(loader)
    position = len(loader)
    second = ids(loader)
    assert len(first) == len(second) == 9 and first != second
    for position in (1, 5, 8) if workers == 3 else (5,):
        assert ids(loader) == first[position:] + second[:position]  # Lightning stops at the end of its epoch


def test_ranks_share_an_epoch_without_a_clip_twice(uneven: tuple) -> None:
    shards = read_index(uneven[0])
    given = []
    for rank in range(2):
        given += flat(ids(TrainLoader(shards, SOUND, 4, BatchOrder(rank, 2), window=7)))
    assert len(given) == len(set(given)) == 72


ELASTIC = [(world, workers) for world in (1, 2, 3, 4) for workers in (0, 1, 3)]


def global_batches(folder: Path, world: int, workers: int, size: int, first_step: int = 0) -> list[list[tuple]]:
    """Of two epochs from a step on: ids, frames and captions of each optimizer step of 12, by its slots."""
    accumulate = 12 // (size * world)
    parts = []
    for rank in range(world):
        order = BatchOrder(rank, world, 1, lambda: first_step * accumulate, accumulate)
        loader = TrainLoader(read_index(folder), BOTH, size, order, workers, window=40)
        assert len(loader) == 78 // 12 * accumulate
        two = islice(loader._from(order.position()), 2 * len(loader) - order.position())
        parts.append([
            [*zip(batch.clip_ids, batch.images[:, 0, 0, 0].tolist(), map(tuple, batch.captions))] for batch in two
        ])  # fmt: skip
    dealt = [batch for batches in zip(*parts) for batch in batches]  # part i * world + rank
    per_step = world * accumulate
    return [sum(dealt[at : at + per_step], []) for at in range(0, len(dealt), per_step)]


@pytest.fixture
def two_lanes(uneven: tuple, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The seven uneven shards, in lanes of half of the clips: three ranks divide them unevenly."""
    monkeypatch.setattr(stream_plan, "LANE", 39)
    return uneven[0]


@pytest.mark.parametrize(("world", "workers"), ELASTIC)
def test_global_batches_are_the_same_on_any_number_of_ranks_and_workers(
    two_lanes: Path, world: int, workers: int
) -> None:
    """Clips, frames and captions of two epochs; and from the middle of the first on."""
    expected = global_batches(two_lanes, 1, 0, size=12)
    assert len(expected) == 12 and {len(step) for step in expected} == {12}
    assert len({clip_id for step in expected[:6] for clip_id, *_ in step}) == 72
    size = {1: 4, 2: 2, 3: 4, 4: 1}[world]  # a part for some of three workers, or unequal ones
    assert global_batches(two_lanes, world, workers, size) == expected
    assert global_batches(two_lanes, world, workers, size, first_step=4) == expected[4:]


@pytest.mark.filterwarnings("ignore:left out a broken clip")
def test_a_broken_clip_has_the_same_stand_in_everywhere(two_lanes: Path) -> None:
    path = two_lanes / "000004.tar"  # damaged so that its CRC-32 is right
    shards = read_index(two_lanes)
    samples = [(s.record["id"], dict(s.media), {}) for s in read_samples(shards[4], 0, 17, lambda r: r["crc32"])]
    for _, media, _ in samples[::3]:
        media["wav"] = b"no sound"
    write_shard(path, samples)
    given = []
    for world, workers in ((1, 0), (2, 3), (3, 1)):
        parts = []
        for rank in range(world):
            order = BatchOrder(rank, world, accumulate=12 // (2 * world))
            loader = TrainLoader(shards, SOUND, 2, order, workers, window=40, skip_broken=True)
            parts.append(ids(loader))
        given.append([batch for batches in zip(*parts) for batch in batches])
    assert given[0] == given[1] == given[2] and len(set(flat(given[0]))) < 72 == len(flat(given[0]))


def test_training_draws_another_frame_in_another_epoch(uneven: tuple) -> None:
    position = 0
    loader = TrainLoader(read_index(uneven[0]), BOTH, 8, BatchOrder(position=lambda: position))
    drawn: list[dict[str, int]] = []
    for position in (0, 0, len(loader)):  # noqa: B007, the loader reads it
        drawn.append({})
        for batch in loader:  # of the two frames of a clip one is black
            drawn[-1] |= dict(zip(batch.clip_ids, (batch.images.amax((1, 2, 3)) > 9).tolist(), strict=True))
    assert drawn[0] == drawn[1]
    both = drawn[0].keys() & drawn[2].keys()
    changed = sum(drawn[0][clip_id] != drawn[2][clip_id] for clip_id in both)
    assert len(both) > 60 and 0.25 < changed / len(both) < 0.75


def test_a_loader_leaves_torchs_random_numbers_alone(uneven: tuple) -> None:
    before = torch.get_rng_state()
    list(TrainLoader(read_index(uneven[0]), SOUND, 8))
    list(EvalLoader(read_index(uneven[0]), SOUND, 8))
    assert torch.equal(torch.get_rng_state(), before)


def test_too_few_clips_for_a_batch_each_is_told(uneven: tuple) -> None:
    with pytest.raises(InputError, match="at least 80, .* found 78 clips; lower batch_size"):
        TrainLoader(read_index(uneven[0]), SOUND, 40, BatchOrder(world_size=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_reaches_the_user_as_one_line(uneven: tuple, workers: int) -> None:
    path = uneven[0] / "000002.tar"
    path.write_bytes(path.read_bytes()[:20000])
    for loader in (EvalLoader, TrainLoader):
        with pytest.raises(InputError) as caught:
            list(loader(read_index(uneven[0]), SOUND, 8, num_workers=workers))
        assert "000002.tar" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_medium_that_fails_its_crc_is_told(uneven: tuple, workers: int) -> None:
    path = uneven[0] / "000000.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"RIFF") + 44] ^= 1  # the first sample of the first sound
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"CRC-32 of clip%2E0\.wav in .*000000\.tar"):
        list(EvalLoader(read_index(uneven[0]), SOUND, 8, num_workers=workers))
    list(EvalLoader(read_index(uneven[0]), ClipFormat(image_size=8), 8))  # which does not read it


def test_more_clips_than_the_index_promises_are_told(uneven: tuple) -> None:
    index = uneven[0] / INDEX
    index.write_text(index.read_text().replace('"nsamples": 11', '"nsamples": 10'))  # of the last shard
    with pytest.raises(InputError, match=r"expected 10 samples in .*000006\.tar, found more"):
        list(EvalLoader(read_index(uneven[0]), SOUND, 8))


def test_sound_only_clips_are_refused_where_a_picture_is_wanted(pack: Callable) -> None:
    shards = read_index(pack({"clip": {"wav": wav(np.ones(9, np.int16))}}))
    assert ids(EvalLoader(shards, SOUND, 1)) == [["clip"]]
    with pytest.raises(InputError, match="inputs: audio"):
        list(EvalLoader(shards, BOTH, 1, num_workers=1))
    with pytest.warns(UserWarning, match="left out a broken clip .*expected images of clip 'clip'"):
        assert ids(EvalLoader(shards, BOTH, 1, skip_broken=True)) == [[]]


@pytest.fixture
def with_broken(pack: Callable) -> Path:
    clips = {f"clip{number}": clip_media(number, 1) for number in range(12)}
    clips["clip3"]["0.jpg"] = b"no picture, and yet its CRC-32 is right"
    return pack(clips)


def test_a_broken_clip_stops_evaluation_and_training(with_broken: Path) -> None:
    for loader in (EvalLoader, TrainLoader):
        with pytest.raises(InputError, match="clip 'clip3' in .*000000.tar.*skip_broken: true .of all but embeddings"):
            list(loader(read_index(with_broken), BOTH, 4, num_workers=1))


def test_skip_broken_puts_another_clip_in_its_place_and_warns_once(with_broken: Path) -> None:
    position = 0
    order = BatchOrder(position=lambda: position)
    loader = TrainLoader(read_index(with_broken), BOTH, 4, order, num_workers=2, skip_broken=True)
    with pytest.warns(UserWarning, match="left out a broken clip .*'clip3'") as warned:
        for position in (0, 3):  # noqa: B007, the loader reads it
            given = flat(ids(loader))
            assert len(given) == 12 and set(given) == {f"clip{number}" for number in range(12)} - {"clip3"}
    assert sum("clip3" in str(warning.message) for warning in warned) == 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skip_broken_leaves_a_clip_out_of_evaluation(with_broken: Path, num_workers: int) -> None:
    """Also where it is a batch of its own, in whose place there is a filler batch."""
    for size in (4, 1):
        loader = EvalLoader(read_index(with_broken), BOTH, size, num_workers=num_workers, skip_broken=True)
        with pytest.warns(UserWarning, match="left out a broken clip .*'clip3'"):
            batches = list(loader)
        assert len(batches) == len(loader) and len(loader.broken) == 1
        assert sorted(flat(batch.clip_ids for batch in batches)) == sorted(
            f"clip{number}" for number in range(12) if number != 3
        )


def test_a_batch_of_broken_clips_alone_stops_all_the_same(pack: Callable) -> None:
    shards = read_index(pack({"clip": {"wav": b"garbage"}}))
    with pytest.raises(InputError, match="expected a readable clip in every shard, found none of 1"):
        list(TrainLoader(shards, SOUND, 1, skip_broken=True))


def test_workers_ignore_the_signal_of_a_requeue(uneven: tuple) -> None:
    def children() -> set[int]:
        path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        return {int(child) for child in path.read_text().split()}

    before = children()
    batches = iter(EvalLoader(read_index(uneven[0]), SOUND, 1, num_workers=1))
    next(batches)
    (worker,) = children() - before
    os.kill(worker, signal.SIGUSR1)
    assert len(list(batches)) == 77


def test_dotted_ids_and_fewer_frames_pass_through(pack: Callable) -> None:
    odd = {"flac": wav(np.ones(4), format="FLAC"), "0.jpg": jpeg(9, (31, 77))}
    clips = {"-Yx_30.000": clip_media(1, 3), "a.b.c": odd}
    (batch,) = EvalLoader(read_index(pack(clips)), BOTH, 8)
    assert batch.clip_ids == ["-Yx_30.000", "a.b.c"]
    assert abs(int(batch.images[0].float().mean()) - 20) <= 2  # frame 1 of 3


def test_a_process_that_ends_does_not_wait_for_its_workers(uneven: tuple) -> None:
    """As where a signal to the main process alone ends fit during validation, while training's workers wait."""
    folder, _ = uneven
    script = f"""
import sys
from pathlib import Path
from datamodules.clip_loader import TrainLoader
from datamodules.clips import ClipFormat
from datamodules.shards import read_index
loader = TrainLoader(read_index(Path({str(folder)!r})), ClipFormat(sampling_rate=1000), 1, num_workers=2)
batches = iter(loader)
next(batches)
sys.exit(143)
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, capture_output=True, text=True)
    assert ended.returncode == 143, ended.stderr
