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
    with pytest.raises(InputError, match="and caption or caption_1, caption_2 ..., in .* found file_name, keywords"):
        read_captions(table(tmp_path, "file_name,keywords\na.wav,caf\u00e9\n", "iso-8859-1"))


SPOKEN = "Ein Zug f\u00e4hrt \u00fcber die Br\u00fccke; d\u00e9j\u00e0 vu, \u00abna\u00efve\u00bb"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "iso-8859-1", "cp1252"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_encodings_and_separators(encoding: str, mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f'file_name{mark}caption\r\na.wav{mark}"{SPOKEN}"\r\nb.wav{mark}rain\r\n'
    assert read_captions(table(tmp_path, text, encoding)) == {"a": [SPOKEN], "b": ["rain"]}
    printed = capsys.readouterr().out
    if encoding in ("iso-8859-1", "cp1252"):
        assert "not UTF-8, read as Windows-1252 (Latin-1), as in 'f\u00e4hrt'" in printed and printed.count("\n") == 1
    else:
        assert printed == ""


@pytest.mark.parametrize(
    ("encoding", "caption"),
    [
        ("mac_roman", SPOKEN),
        ("cp850", SPOKEN),
        ("utf-16-le", SPOKEN),
        ("gbk", "\u72d7\u5728\u53eb"),
        ("shift_jis", "\u72ac\u304c\u5420\u3048\u308b"),
        ("cp1251", "\u0441\u043e\u0431\u0430\u043a\u0430 \u043b\u0430\u0435\u0442"),
        ("cp1250", "pies g\u0142o\u015bno szczeka"),
    ],
)
def test_other_encodings_are_refused(encoding: str, caption: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in UTF-8 or Windows-1252 in .*, found another encoding in line [12]; save"):
        read_captions(table(tmp_path, f"file_name,caption\na.wav,{caption}\n", encoding))


def test_commas_in_a_table_of_semicolons_and_the_other_way_round(tmp_path: Path) -> None:
    expected = {"a": ["A dog, then; a cat, far"], "b": ["x"]}
    assert read_captions(table(tmp_path, 'file_name;caption\na.wav;"A dog, then; a cat, far"\nb.wav;x\n')) == expected
    assert read_captions(table(tmp_path, 'file_name,caption\na.wav,"A dog, then; a cat, far"\nb.wav,x\n')) == expected
    assert read_captions(table(tmp_path, "file_name;caption\na.wav;rain, wind, hail\n")) == {"a": ["rain, wind, hail"]}
    with_both = "clip_id;caption;made by a, b\nx;rain, wind;y\nz;hail;y\n"  # only semicolons give three cells a line
    assert read_captions(table(tmp_path, with_both)) == {"x": ["rain, wind"], "z": ["hail"]}


@pytest.mark.parametrize(
    ("header", "clip"),
    [
        ("filename,caption", "a.b"),
        ("File name,Caption", "a.b"),
        ("clip,text", "a.b"),
        ("audio,description", "a.b"),
        ("WAV,raw_caption", "a.b"),
        ("Audio File,sentence", "a.b"),
        ("Clip ID,captions", "a.b.wav"),
        ("YouTube-ID,Caption 1", "Ya.b.wav"),
        ("ytid,caption1", "Ya.b.wav"),
    ],
)
def test_names_of_columns(header: str, clip: str, tmp_path: Path) -> None:
    assert read_captions(table(tmp_path, f"{header}\na.b.wav,rain\n")) == {clip: ["rain"]}


def test_a_series_of_columns_and_what_comes_first(tmp_path: Path) -> None:
    path = table(tmp_path, "Caption 1,Caption 2,filename,raw_caption\none,two,a.opus,raw\n")
    assert read_captions(path) == {"a": ["one", "two"]}
    path = table(tmp_path, "id,clip_id,description,caption\n1,a.wav,long,short\n")
    assert read_captions(path) == {"a.wav": ["short"]}


@pytest.mark.parametrize("above", ["", "\r\n\n", " \n", ";;;\n"])
def test_rows_and_columns_that_excel_leaves_empty(above: str, tmp_path: Path) -> None:
    assert read_captions(table(tmp_path, f"{above}file_name;caption;;\na.wav;rain;;\n;;;\n\n")) == {"a": ["rain"]}


def test_quotes_and_line_ends_inside_cells(tmp_path: Path) -> None:
    path = table(tmp_path, 'file_name,caption\na.wav,"a ""big"" dog\nbarks"\nb.wav,a "big" car\n')
    assert read_captions(path) == {"a": ['a "big" dog\nbarks'], "b": ['a "big" car']}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,file_name,caption\n1,a.wav,rain\n", "one column of the clip's name in .*, found id and file_name; remove"),
        ("clip,text,description\na,b,c\n", "one column of captions in .*, found text and description; remove"),
        ("name,remark\na,b\n", "found name, remark; rename"),
        ("caption\nrain\n", "expected a column clip_id.*, found caption; rename"),
        ("file_name,File Name,caption\na,b,c\n", "every column once in .*, found file_name and File Name; remove"),
        ("a,b;c\nd,e;f\n", "one separator between the columns of .*, found commas and semicolons in its first line"),
        ("file_name;caption\na.wav,rain\n", "expected 2 cells in line 2 of .*, found fewer; .* semicolons in quotes"),
        ("file_name,captions\na.wav,\"['rain', 'wind']\"\n", "one caption in a cell of .*, found a list for 'a.wav'"),
    ],
)
def test_what_may_be_mistaken_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_captions(table(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file_name,caption\na.wav,A dog barks, then a cat\n",
            "expected 2 cells in line 2 of .*, found more; put .* quotes",
        ),
        ("file_name,caption\na.wav\n", "expected 2 cells in line 2 of .*, found fewer"),
        ("file_name,caption\n", "found no row below its first line"),
        (
            'file_name,caption\n\na.wav,"a dog barks\nb.wav,a cat\nc.wav,a "big" car\n',
            "whole cells in the row from line 3 of .*, found: ',' expected after '\"'; close its quotes",
        ),
        ('file_name,caption\na.wav,"a dog\nb.wav,a cat\n', "the row from line 2 of .*, found: unexpected end of data"),
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
