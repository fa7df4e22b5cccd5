"""Captions files are read as they were written; wrong ones are named."""

import os
from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.captions_file import captions_path, read_captions, write_captions

ROWS = CaptionRows(
    clip_ids=["a.b", "c"],
    captions=['a dog, "loud"\nbarks', ""],
    references=[["ein Hund — bellt", "x"], []],
    labels=[["dog"], []],
)


def test_round_trip(tmp_path: Path) -> None:
    write_captions(tmp_path / "captions.csv", ROWS, [1.25, 0.0])
    assert read_captions(tmp_path) == ROWS
    assert read_captions(tmp_path / "captions.csv") == ROWS
    assert ",1.250000" in (tmp_path / "captions.csv").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["captions.csv"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("clip_id,references\na,[]\n", "found no caption"),
        ("clip_id,caption,references\n", "found no row"),
        ("clip_id,caption,references\na,b,a dog barks\n", "found 'a dog barks'"),
        ('clip_id,caption,references\na,b,"{""c"": 1}"\n', "JSON list"),
        ("clip_id,caption,references\na,b,[]\na,c,[]\n", "found 1 rows"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="^expected") as error:
        read_captions(path)
    assert found in str(error.value)
    assert str(path) in str(error.value)


def test_no_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        read_captions(tmp_path)


def test_labels_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('clip_id,caption,references\na,a dog,"[""a dog barks""]"\n')
    assert read_captions(path)["labels"] == [[]]


def test_a_file_that_a_spreadsheet_saved_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('clip_id;caption;references\na;"rain; wind";"[""it rains, hard""]"\n', encoding="utf-8-sig")
    rows = read_captions(path)
    assert (rows["captions"], rows["references"]) == (["rain; wind"], [["it rains, hard"]])


def test_the_newest_test_is_the_one_that_captioned_last(tmp_path: Path) -> None:
    """And not the one that was scored last; a test without scores did not finish."""
    for number in (1, 2, 3):
        (folder := tmp_path / f"test-{number}").mkdir()
        for place, name in enumerate(("captions.csv", "scores.json")[: 1 if number == 3 else 2]):
            (folder / name).touch()
            os.utime(folder / name, (time := 100 * number + place, time))
    os.utime(tmp_path / "test-1/scores.json", (900, 900))
    assert captions_path(tmp_path) == tmp_path / "test-2/captions.csv"


def test_a_caption_with_nul_is_read_again(tmp_path: Path) -> None:
    rows = CaptionRows(clip_ids=["a"], captions=["a dog\0 barks"], references=[["x"]], labels=[[]])
    write_captions(tmp_path / "captions.csv", rows)
    assert read_captions(tmp_path / "captions.csv")["captions"] == ["a dog� barks"]
