"""Constant captions, and the references that they are chosen from."""

from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from datamodules.shards import write_shards
from earshot.errors import InputError
from reports.guesses import best_constant_caption, read_split


def rows_of(references: list[list[str]]) -> CaptionRows:
    number = len(references)
    ids = [f"clip-{index}" for index in range(number)]
    return CaptionRows(clip_ids=ids, captions=["a bell rings"] * number, references=references, labels=[[]] * number)


def test_constant_caption_is_chosen_on_its_own_list() -> None:
    # On the list the cow is commonest, whatever the captions column or the test say.
    references = [["a cow moos"]] * 5 + [["a dog barks"]] * 2 + [["a bell rings"]]
    assert best_constant_caption(rows_of(references), java=False) == "a cow moos"


def test_clips_without_references_choose_nothing() -> None:
    assert (
        best_constant_caption(rows_of([["a cow moos"], [], ["a cow moos"], [""], ["rain"]]), java=False) == "a cow moos"
    )


def test_input_errors_are_raised_for_a_list_without_references() -> None:
    with pytest.raises(InputError, match="found none for 1 clips"):
        best_constant_caption(rows_of([[]]), java=False)


def test_read_split(tmp_path: Path) -> None:
    clips = [(f"clip.{n}", {"wav": b"no sound"}, {"captions": [f"sound {n}"], "labels": ["dog"]}) for n in range(5)]
    write_shards(tmp_path, clips, samples_per_shard=3)
    rows = read_split(tmp_path)
    assert rows["clip_ids"] == [f"clip.{n}" for n in range(5)]
    assert rows["references"][4] == ["sound 4"]
    assert rows["labels"] == [["dog"]] * 5
    assert rows["captions"] == [""] * 5


def test_no_split_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected packed shards"):
        read_split(tmp_path)
