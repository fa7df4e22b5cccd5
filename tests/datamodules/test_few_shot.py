"""A few clips by seed or by list, and the batches of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.batch_order import BatchOrder
from datamodules.clip_datamodule import ClipDataModule
from datamodules.clips import ClipFormat
from datamodules.few_shot import FewShotLoader, drawn_clips, listed_clips
from datamodules.shards import read_index, write_shards
from earshot.errors import InputError
from tests.datamodules.made_clips import clip_media, jpeg

PICTURES = ClipFormat(image_size=64)


@pytest.fixture()
def folder(world_root: Path) -> Path:
    return world_root / "first-40/audiocaps/train"


def test_drawn_by_seed_and_nested(folder: Path) -> None:
    shards = read_index(folder)
    four, sixteen = (drawn_clips(shards, PICTURES, number, seed=7) for number in (4, 16))
    ids = [clip.clip_id for clip in sixteen]
    assert len(set(ids)) == 16 and [clip.clip_id for clip in four] == ids[:4]
    assert ids != [clip.clip_id for clip in drawn_clips(shards, PICTURES, 16, seed=8)]
    assert all(clip.image is not None and clip.image.shape == (3, 64, 64) and clip.waveform is None for clip in four)
    assert len(drawn_clips(shards, PICTURES, 40, seed=0)) == 40
    with pytest.raises(InputError, match="expected num_pairs from 1 to 40"):
        drawn_clips(shards, PICTURES, 41, seed=0)


def test_listed_by_id(folder: Path, tmp_path: Path) -> None:
    shards, table = read_index(folder), tmp_path / "pairs.csv"
    table.write_text("clip_id,caption\naudiocaps-train-000007,a dog yelps\naudiocaps-train-000002,\n")
    clips = listed_clips(shards, PICTURES, table)
    assert [clip.clip_id for clip in clips] == ["audiocaps-train-000007", "audiocaps-train-000002"]
    assert clips[0].captions == ["a dog yelps"]  # the table's
    assert clips[1].captions and clips[1].captions != [""]  # its own
    table.write_text("clip_id\nelsewhere\n")
    with pytest.raises(InputError, match="found 0 of 1, not 'elsewhere'"):
        listed_clips(shards, PICTURES, table)
    table.write_text("clip_id\na\na\n")
    with pytest.raises(InputError, match="expected every id once"):
        listed_clips(shards, PICTURES, table)
    table.write_text("name\na\n")
    with pytest.raises(InputError, match="expected a column clip_id, file_name, youtube_id or id in .*, found name;"):
        listed_clips(shards, PICTURES, table)
    with pytest.raises(InputError, match="correct data.pairs"):
        listed_clips(shards, PICTURES, tmp_path / "nothing.csv")


def test_clips_without_a_picture_are_left_out(tmp_path: Path) -> None:
    media = {f"clip{number}": clip_media(number, frames=number % 2) for number in range(6)}
    folder, table = tmp_path / "split", tmp_path / "pairs.csv"
    write_shards(folder, ((clip_id, found, {"captions": ["a"]}) for clip_id, found in media.items()))
    shards = read_index(folder)
    table.write_text("clip_id\nclip2\nclip3\nclip1\n")
    for read in (
        lambda skip: drawn_clips(shards, PICTURES, 3, 0, skip),
        lambda skip: listed_clips(shards, PICTURES, table, skip),
    ):
        with pytest.raises(InputError, match="expected images of clip 'clip.', found none; .*skip_broken: true"):
            read(False)
    with pytest.warns(UserWarning, match="left out a broken clip .*: expected images of clip 'clip2'"):
        drawn = drawn_clips(shards, PICTURES, 3, 0, skip_broken=True)
        listed = listed_clips(shards, PICTURES, table, skip_broken=True)
    assert sorted(clip.clip_id for clip in drawn) == ["clip1", "clip3", "clip5"]
    assert [clip.clip_id for clip in listed] == ["clip3", "clip1"]
    table.write_text("clip_id\nclip2\nclip3\nclip7\n")
    with pytest.warns(UserWarning), pytest.raises(InputError, match="found 1 of 3, not 'clip2'; correct the table"):
        listed_clips(shards, PICTURES, table, skip_broken=True)
    with pytest.raises(InputError, match="expected 4 clips that can be read in .*, found 3; lower num_pairs"):
        drawn_clips(shards, PICTURES, 4, 0, skip_broken=True)


def test_audiocaps_own_tables_name_the_clips_of_its_copies(pack: Callable[..., Path], tmp_path: Path) -> None:
    """Rows of AudioCaps, of the prefix tuning's pairs, of WavCaps' copy and of a run, whose clips are Y<youtube_id>."""
    ids = ("YvfY_TJq7n_U", "YtdWhHV3X25Q", "Y-BZ6I5i_kW4")
    shards, table = read_index(pack({clip_id: {"0.jpg": jpeg(9)} for clip_id in ids})), tmp_path / "pairs.csv"
    applause = "An audience gives applause as a man yells and a group sings"
    for text in (
        f"audiocap_id,youtube_id,start_time,caption\r\n108945,tdWhHV3X25Q,60,{applause}\r\n"
        '108946,tdWhHV3X25Q,60,A crowd applauds\r\n97151,vfY_TJq7n_U,130,"Rustling occurs, ducks quack"\r\n',
        f"youtube_id,caption\ntdWhHV3X25Q,{applause}\nvfY_TJq7n_U,Ducks quack\n",
        f"file_name,caption_1,caption_2\nYtdWhHV3X25Q.wav,{applause},A crowd\nYvfY_TJq7n_U.wav,Ducks quack,Ducks\n",
        f"clip_id,caption,references,labels,cider_d\nYtdWhHV3X25Q,{applause},[],[],\nYvfY_TJq7n_U,Ducks quack,[],[],\n",
    ):
        table.write_text(text, newline="")
        clips = listed_clips(shards, ClipFormat(image_size=8), table)
        assert [clip.clip_id for clip in clips] == ["YtdWhHV3X25Q", "YvfY_TJq7n_U"]
        assert clips[0].captions[0] == applause
    table.write_text("clip_id,caption\ntdWhHV3X25Q,x\n")
    with pytest.raises(InputError, match="not 'tdWhHV3X25Q'; correct the table .a youtube_id stands for the clip Y"):
        listed_clips(shards, ClipFormat(image_size=8), table)


def test_the_pairs_of_dalis_authors(tmp_path: Path) -> None:
    """As `prefixDS.json` has them: YouTube ids, which mean clips that are named with more."""
    write_shards(
        tmp_path / "split",
        [
            (clip_id, {"0.jpg": jpeg((0, 0, 0), (8, 8))}, {"captions": ["its own"]})
            for clip_id in ("YAuMklNxE5cY", "-BZ6I5i_kW4_30.000", "Yanother_one")
        ],
    )
    turns = [{"from": "human", "value": "<image>\nWhat ?"}, {"from": "gpt", "value": "An emergency vehicle"}]
    entries = [{"id": "AuMklNxE5cY", "image": "/a.jpg", "sim": 0.77, "conversations": turns}]
    entries += [{"id": "-BZ6I5i_kW4", "audio": "/b.wav", "conversations": [{"from": "gpt", "value": "A toilet "}]}]
    table = tmp_path / "prefixDS.json"
    table.write_text(json.dumps(entries))
    clips = listed_clips(read_index(tmp_path / "split"), ClipFormat(image_size=8), table)
    found = [(clip.clip_id, clip.captions) for clip in clips]
    assert found == [("YAuMklNxE5cY", ["An emergency vehicle"]), ("-BZ6I5i_kW4_30.000", ["A toilet"])]
    for wrong, message in (
        ("[{}]", "in entry 0"), (json.dumps([{**entries[0], "id": 12}]), "in entry 0"),
        ('{"id": 1}', "in entry 0"), ("[", "expected a JSON list of conversations"),
        (json.dumps([*entries, {"id": "x", "conversations": [turns[0]]}]), "in entry 2"),
        (json.dumps([*entries, entries[0]]), "found 'AuMklNxE5cY' twice"),
    ):  # fmt: skip
        table.write_text(wrong)
        with pytest.raises(InputError, match=message):
            listed_clips(read_index(tmp_path / "split"), ClipFormat(image_size=8), table)


def test_never_from_val_or_test() -> None:
    for split in ("audiocaps/val", "audiocaps/test"):
        with pytest.raises(InputError, match="expected to draw pairs from a training split"):
            ClipDataModule("data", train=split, num_pairs=4)
    with pytest.raises(InputError, match="num_pairs or pairs"):
        ClipDataModule("data", train="audiocaps/train", num_pairs=4, pairs="pairs.csv")


@pytest.mark.parametrize(
    ("number", "batch_size", "world", "steps"), [(16, 16, 1, 1), (16, 4, 2, 2), (3, 16, 2, 1), (1, 16, 2, 1)]
)
def test_ranks_share_every_batch(folder: Path, number: int, batch_size: int, world: int, steps: int) -> None:
    clips = drawn_clips(read_index(folder), PICTURES, number, seed=0)
    loaders = [FewShotLoader(clips, batch_size, BatchOrder(rank, world, 1)) for rank in range(world)]
    batches = [list(loader) for loader in loaders]
    assert [len(each) for each in batches] == [steps] * world
    assert len({len(batch.clip_ids) for each in batches for batch in each}) == 1  # as many on each rank
    seen = {clip_id for each in batches for batch in each for clip_id in batch.clip_ids}
    assert seen == {clip.clip_id for clip in clips}


def test_a_pass_begins_where_the_run_is(folder: Path) -> None:
    clips = drawn_clips(read_index(folder), PICTURES, 8, seed=0)
    whole = [list(FewShotLoader(clips, 4, BatchOrder(seed=1, position=lambda at=at: at))) for at in (0, 2)]
    expected = [batch.clip_ids for epoch in whole for batch in epoch]
    assert [batch.clip_ids for batch in FewShotLoader(clips, 4, BatchOrder(seed=1, position=lambda: 1))] == expected[
        1:3
    ]
    assert expected[:2] != expected[2:]  # another order every epoch
