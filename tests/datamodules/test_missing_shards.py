"""`skip_broken` goes on without a shard that is not there, on disk or on a server; without it one line names it."""

import csv
import re
from pathlib import Path

import pytest
import yaml

from datamodules.batch_order import BatchOrder
from datamodules.clip_loader import EvalLoader, TrainLoader
from datamodules.clips import ClipFormat
from datamodules.few_shot import drawn_clips, listed_clips
from datamodules.kept_clips import kept_shards
from datamodules.missing_shards import MissingShard
from datamodules.places import place
from datamodules.shards import Shard, read_index, write_shards
from earshot.errors import InputError
from tests.datamodules.made_clips import clip_media
from tests.datamodules.served import served
from train import main

SOUND = ClipFormat(sampling_rate=1000)
IDS = [f"clip{number}" for number in range(60)]  # five in each of twelve shards
GONE = IDS[35:40]


@pytest.fixture
def split(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus" / "clips"
    write_shards(folder, ((name, clip_media(at, 1), {"captions": ["a"]}) for at, name in enumerate(IDS)), 5)
    return folder


@pytest.fixture(params=["disk", "server"])
def lacking(request: pytest.FixtureRequest, split: Path, tmp_path: Path):  # noqa: ANN201
    """Its shards, of which one is removed when they are all known."""
    with served(tmp_path) as address:
        shards = read_index(split if request.param == "disk" else place(address) / "corpus/clips")
        (split / "000007.tar").unlink()
        yield shards


def epochs(shards: list[Shard], workers: int = 0, world: int = 1, skip: bool = True) -> list[str]:
    """The ids of two epochs, in the order of the global batches."""
    found = []
    for position in (0, 5):
        ranks = [
            [batch.clip_ids for batch in TrainLoader(
                shards, SOUND, 12 // world, BatchOrder(rank, world, 7, lambda at=position: at), workers, skip, window=20
            )]
            for rank in range(world)
        ]  # fmt: skip
        found += [name for parts in zip(*ranks) for part in parts for name in part]
    return found


@pytest.mark.filterwarnings("ignore:left out a missing shard")
def test_the_next_shard_takes_its_place_in_training(lacking: list[Shard], tmp_path: Path) -> None:
    """On any number of devices and workers the same, and nothing else changes."""
    write_shards(tmp_path / "whole", ((name, clip_media(at, 1), {}) for at, name in enumerate(IDS)), 5)
    whole = epochs(read_index(tmp_path / "whole"))
    stand_in = dict(zip(GONE, IDS[40:45]))
    expected = [stand_in.get(name, name) for name in whole]
    assert expected != whole
    assert epochs(lacking) == epochs(lacking, workers=2, world=2) == expected


def test_it_is_counted_and_told_once(lacking: list[Shard]) -> None:
    loader = TrainLoader(lacking, SOUND, 12, BatchOrder(seed=7), 2, True)
    with pytest.warns(UserWarning, match=r"left out a missing shard \(5 clips so far\): .*000007\.tar") as warned:
        for _ in range(2):
            assert len(list(loader)) == 5
    assert len(warned) == 1 and loader.num_broken == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_leaves_its_clips_out(lacking: list[Shard], workers: int) -> None:
    loaders = [EvalLoader(lacking, SOUND, 4, BatchOrder(rank, 2), workers, True) for rank in range(2)]
    with pytest.warns(UserWarning, match="expected clip35, clip36, clip37 and 2 more in .*7.tar, found no such shard"):
        batches = [list(loader) for loader in loaders]
    assert [len(some) for some in batches] == [8, 8]
    assert sorted(name for some in batches for batch in some for name in batch.clip_ids) == sorted(set(IDS) - set(GONE))
    assert sum(loader.num_broken for loader in loaders) == 5


def test_clips_that_are_done_already_are_not_missed(lacking: list[Shard]) -> None:
    loader = EvalLoader(lacking, SOUND, 4, skip_broken=True, skip=frozenset(GONE[:3]))
    with pytest.warns(UserWarning, match=r"\(2 clips so far\): expected clip38, clip39 in "):
        list(loader)
    assert loader.num_broken == 2


def test_without_it_one_line_names_the_shard(lacking: list[Shard], split: Path) -> None:
    for loader in (TrainLoader(lacking, SOUND, 12), EvalLoader(lacking, SOUND, 12)):
        with pytest.raises(InputError, match=r"expected a readable shard .*000007\.tar, found") as found:
            list(loader)
        assert "\n" not in str(found.value)
    with pytest.raises(InputError, match=r"expected the shard .*000007\.tar, found no such file"):
        read_index(split)


@pytest.mark.filterwarnings("ignore:left out a missing shard")
def test_more_than_a_tenth_is_not_done_without(lacking: list[Shard], split: Path) -> None:
    (split / "000002.tar").unlink()
    with pytest.raises(InputError, match="a tenth of 60 clips at most, found shards of 10 missing, such as"):
        read_index(split, skip_missing=True)
    for loader in (TrainLoader(lacking, SOUND, 12, skip_broken=True), EvalLoader(lacking, SOUND, 12, skip_broken=True)):
        with pytest.raises(InputError, match="a tenth of 60 clips at most, found shards of 10 missing, such as"):
            list(loader)


@pytest.mark.filterwarnings("ignore:left out a missing shard")
def test_a_damaged_shard_is_not_a_missing_one(lacking: list[Shard], split: Path) -> None:
    (split / "000002.tar").write_bytes(b"not found" * 2000)
    for loader in (TrainLoader(lacking, SOUND, 12, skip_broken=True), EvalLoader(lacking, SOUND, 12, skip_broken=True)):
        with pytest.raises(InputError, match=r"expected a readable shard .*000002\.tar"):
            list(loader)


def test_a_list_of_ids_does_without_its_clips(lacking: list[Shard], split: Path, tmp_path: Path) -> None:
    """Where its ids are not there, either; where they are, the loader tells of it."""
    (tmp_path / "ids.txt").write_text("\n".join(IDS[30:45]))
    assert [shard.num_samples for shard in kept_shards(lacking, tmp_path / "ids.txt")] == [5, 5, 5]
    (split / "000007.ids.json").unlink()
    with pytest.raises(MissingShard, match=r"expected a readable shard .*000007\.tar"):
        kept_shards(lacking, tmp_path / "ids.txt")
    with pytest.warns(UserWarning, match=r"left out a missing shard \(5 clips so far\): .*000007\.tar"):
        kept = kept_shards(lacking, tmp_path / "ids.txt", skip_missing=True)
    assert [shard.num_samples for shard in kept] == [5, 5]


def test_few_clips_do_without_them(lacking: list[Shard], split: Path, tmp_path: Path) -> None:
    """Others are drawn in their places; of those that are listed, fewer are left."""
    (split / "000007.ids.json").unlink()
    (tmp_path / "pairs.csv").write_text("\n".join(["clip_id", *IDS[33:43]]))
    write_shards(tmp_path / "whole", ((name, clip_media(at, 1), {"captions": ["a"]}) for at, name in enumerate(IDS)), 5)
    whole = [clip.clip_id for clip in drawn_clips(read_index(tmp_path / "whole"), SOUND, 60, 7)]
    with pytest.raises(MissingShard):
        drawn_clips(lacking, SOUND, 55, 7)
    with pytest.warns(UserWarning, match=r"left out a missing shard \(5 clips so far\): .*000007\.tar") as warned:
        drawn = [clip.clip_id for clip in drawn_clips(lacking, SOUND, 20, 7, skip_broken=True)]
        listed = [clip.clip_id for clip in listed_clips(lacking, SOUND, tmp_path / "pairs.csv", skip_broken=True)]
    assert len(warned) == 2
    assert drawn == [name for name in whole if name not in GONE][:20] != whole[:20]
    assert listed == [*IDS[33:35], *IDS[40:43]]


def test_a_test_counts_without_them(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Also where it is the first shard, in which references are looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (split / "000000.tar").unlink()
    data = {"root": ".", "test": "corpus/clips", "skip_broken": True, "num_workers": 0}
    toy = {
        "run_name": "toy",
        "model": {"class_path": "tests.captioning_toy.CaptioningToy"},
        "data": {"class_path": "datamodules.clip_datamodule.ClipDataModule", "init_args": data},
        "trainer": {"accelerator": "cpu"},
        "export": {"load": False},
        "evaluation": {"java": False, "report_clips": None},
    }
    Path("toy.yaml").write_text(yaml.safe_dump(toy))
    main(["test", "--config", "toy.yaml"])
    with open("runs/toy/test-1/captions.csv", newline="") as file:
        assert [row["clip_id"] for row in csv.DictReader(file)] == sorted(IDS[5:])
    assert any(re.search("left out a missing shard .*clip0, clip1, clip2 and 2 more", str(w.message)) for w in recwarn)
