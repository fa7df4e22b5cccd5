"""The layouts and traps of the tables that users have."""

from pathlib import Path

import pytest

from datamodules.caption_table import read_captions
from earshot.errors import InputError


def table(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_audiocaps_official(tmp_path: Path) -> None:
    """Column 1 is the YouTube id; a clip's five captions stand in five rows; lines end as on Windows."""
    path = table(
        tmp_path,
        "audiocap_id,youtube_id,start_time,caption\r\n103549,7fmOlUlwoNg,20,Constant rattling\r\n"
        '5,-abc_D,0,"A dog, barking"\r\n6,7fmOlUlwoNg,20,Vibrations\r\n',
    )
    assert read_captions(path) == {"Y7fmOlUlwoNg": ["Constant rattling", "Vibrations"], "Y-abc_D": ["A dog, barking"]}


def test_audiocaps_of_wavcaps(tmp_path: Path) -> None:
    """The same ids as from the official table; captions that are not ASCII survive."""
    path = table(tmp_path, "file_name,caption\nY7fmOlUlwoNg.wav,A train\u2019s horn\u2026\nYb.wav,caf\u00e9\n")
    assert read_captions(path) == {"Y7fmOlUlwoNg": ["A train\u2019s horn\u2026"], "Yb": ["caf\u00e9"]}


def test_clotho(tmp_path: Path) -> None:
    """A name that begins with a space keeps it: so does the file."""
    path = table(tmp_path, "file_name,caption_1,caption_2\n Ambience.wav,wind, birds \nb.1.wav,x,\n")
    assert read_captions(path) == {" Ambience": ["wind", "birds"], "b.1": ["x"]}


def test_headers_are_not_captions(tmp_path: Path) -> None:
    path = table(tmp_path, "file_name,caption\na.wav,one\nfile_name,caption\nb.wav,two\n")
    assert read_captions(path) == {"a": ["one"], "b": ["two"]}
    with pytest.raises(
        InputError, match="found 91139, r1nicOVtvkQ, 130, A woman talks; .* add the line of their names"
    ):
        read_captions(table(tmp_path, "91139,r1nicOVtvkQ,130,A woman talks\n58146,UDGBjjwyaqE,20,Clanging\n"))


def test_clotho_metadata_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in UTF-8 .* ISO-8859-1"):
        read_captions(table(tmp_path, "file_name,keywords\na.wav,caf\u00e9\n", "iso-8859-1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file_name,caption\na.wav,A dog barks, then a cat\n",
            "expected 2 cells in line 2 of .*, found more; put .* quotes",
        ),
        ("file_name,caption\na.wav\n", "expected 2 cells in line 2 of .*, found fewer"),
        ("file_name,caption\n", "found no row below its first line"),
    ],
)
def test_lines_that_are_cut_or_missing(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_captions(table(tmp_path, text))


def test_a_list_without_captions(tmp_path: Path) -> None:
    path = table(tmp_path, "id\na.1\nb\n")
    assert read_captions(path, required=False) == {"a.1": [], "b": []}
    with pytest.raises(InputError, match="and caption or caption_1, caption_2 ..., in .*, found id;"):
        read_captions(path)
    with pytest.raises(InputError, match="expected every id once"):
        read_captions(table(tmp_path, "id\na\na\n"), required=False)


def test_the_captions_file_of_a_run(tmp_path: Path) -> None:
    path = table(tmp_path, "clip_id,caption,references\na.1,rain falls,[]\n Ambience Birds,,[]\n")
    assert read_captions(path) == {"a.1": ["rain falls"], " Ambience Birds": []}
