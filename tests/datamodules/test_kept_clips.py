"""Lists of ids in every form that is read, which clips they mean, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.clips import ClipFormat
from datamodules.few_shot import drawn_clips
from datamodules.id_list import clips_meant
from datamodules.kept_clips import kept_shards
from datamodules.shards import read_index
from earshot.errors import InputError
from tests.datamodules.made_clips import clip_media

CLIPS = ["Y--PJHxphWEs_30.000", "-0SdAVK79lg", "Yb0RFKhbpFJA", "my clip", "abcdefghij_"]


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        (CLIPS[0], CLIPS[0]),
        ("--PJHxphWEs", CLIPS[0]),
        ("Y--PJHxphWEs", CLIPS[0]),
        ("--PJHxphWEs_30", CLIPS[0]),
        ("--PJHxphWEs_30000", CLIPS[0]),  # milliseconds
        ("--PJHxphWEs_30_40", CLIPS[0]),
        ("Y--PJHxphWEs_30.000.wav", CLIPS[0]),
        ("--PJHxphWEs_40", None),  # another part of the video
        ("-0SdAVK79lg_30.000", CLIPS[1]),
        ("Y-0SdAVK79lg.FLAC", CLIPS[1]),
        ("b0RFKhbpFJA", CLIPS[2]),
        ("b0RFKhbpFJA_0", CLIPS[2]),
        ("YYb0RFKhbpFJA", None),
        ("my clip", "my clip"),
        ("my clip.wav", "my clip"),
        ("Ymy clip", None),  # not of YouTube's form
        ("abcdefghij__5", CLIPS[4]),
        ("abcdefghij", None),
    ],
)
def test_what_an_id_means(name: str, clip: str | None) -> None:
    assert clips_meant([name], CLIPS).get(name) == clip


def test_an_id_that_could_mean_several_clips_means_none() -> None:
    parts = ["Yb0RFKhbpFJA_10", "Yb0RFKhbpFJA_20"]
    listed = ["b0RFKhbpFJA", "b0RFKhbpFJA_20"]
    assert clips_meant(listed, parts) == {"b0RFKhbpFJA_20": parts[1]}
    exact = ["b0RFKhbpFJA", *parts]
    assert clips_meant(listed, exact)["b0RFKhbpFJA"] == "b0RFKhbpFJA"
    assert "b0RFKhbpFJA_20" not in clips_meant(listed, exact)  # the whole video may be meant as well


def test_other_readers_keep_to_the_list(pack: Callable, tmp_path: Path) -> None:
    shards = read_index(pack({f"clip{number}": clip_media(number, 1) for number in range(9)}))
    (tmp_path / "ids.json").write_text(json.dumps(["clip7", "clip2", "clip5", "clip2.wav"]))
    kept = kept_shards(shards, tmp_path / "ids.json")
    assert [shard.num_samples for shard in kept] == [3]
    with pytest.raises(InputError, match="expected a caption of clip"):
        drawn_clips(kept, ClipFormat(sampling_rate=1000), 3, 0)
    with pytest.raises(InputError, match="expected num_pairs from 1 to 3"):
        drawn_clips(kept, ClipFormat(sampling_rate=1000), 4, 0)


def test_a_list_of_another_split_is_refused(pack: Callable, tmp_path: Path) -> None:
    shards = read_index(pack({"clip0": clip_media(0, 1)}))
    (tmp_path / "ids.txt").write_text("other\n")
    message = "expected ids of clips in .*corpus/clips, such as 'clip0', found none among the 1 of .*, such as 'other'"
    with pytest.raises(InputError, match=message):
        kept_shards(shards, tmp_path / "ids.txt")
