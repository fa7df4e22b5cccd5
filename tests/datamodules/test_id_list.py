"""Lists of clips in every form, and what is none."""

from pathlib import Path

import pytest

from datamodules.id_list import clips_touched, read_ids
from earshot.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("ids.txt", "a\n\n -b,c \na\n", ["a", " -b,c"]),
        ("ids.txt", "a\n -b\n\na\n", ["a", " -b"]),
        ("ids.txt", '"a, ""b""; c.wav"\n"d"\n', ['a, "b"; c.wav', "d"]),
        ("ids.csv", '\n"clip_id"\n"a, b"\n', ["a, b"]),
        ("ids.csv", "clip_id,distance\nb,0.1\na,0.2\n", ["b", "a"]),
        ("ids.csv", "\ufeffclip_id\nb\na\n", ["b", "a"]),
        ("ids.csv", "audiocap_id,youtube_id,start_time,caption\n1,b,30,x\n2,a,0,y\n", ["Yb", "Ya"]),
        ("ids.csv", 'file_name,caption\nb.wav,"x, y"\n', ["b"]),
        ("ids.json", '["b", "a"]', ["b", "a"]),
        ("ids", '["b", "a"]', ["b", "a"]),
        ("ids.txt", "[live] b.wav\na\n", ["[live] b.wav", "a"]),
        (
            "eval_segments.csv",
            "# Segments csv created\n# YTID, start_seconds, end_seconds, positive_labels\n"
            '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n_BfyiQMrsf4, 30.000, 40.000, "/m/0cmf2"\n',
            ["Y--4gqARaEJE", "Y_BfyiQMrsf4"],
        ),
        (
            "blacklist.json",
            '{"AudioSet": ["Yb0RFKhbpFJA.wav"], "FreeSound": ["12"]}',
            ["Yb0RFKhbpFJA.wav", "FreeSound_12"],
        ),
    ],
)
def test_forms(tmp_path: Path, name: str, content: str, ids: list[str]) -> None:
    (tmp_path / name).write_text(content)
    assert read_ids(tmp_path / name) == ids


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "cp1252"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("ids.txt", "fährt\nb\n"), ("ids.csv", "clip_id\nfährt\nb\n"), ("ids.json", '["fährt", "b"]')],
)
def test_encodings(encoding: str, name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding)
    assert read_ids(tmp_path / name) == ["fährt", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "expected a list of ids in .*none.txt, found: No such file"),
        ("ids.csv", "x,0.1\n", "expected a column clip_id, file_name, id, youtube_id in .*, or one id in each line"),
        ("ids.json", '{"a": 1}', "expected a list of ids in .*, found: 'int' object is not iterable"),
        ("ids.json", "[1, 2]", "expected a JSON list of ids"),
        ("ids.json", "[", "expected a list of ids in .*, found: Expecting value"),
        ("ids.txt", " \n\n", "expected ids in .*, found none"),
        ("ids.json", "[]", "expected ids in .*, found none"),
        ("ids.txt", "ab\0cd", "expected a table of ids in UTF-8 or .*, found another encoding in line 1; save it"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_ids(tmp_path / name)


def test_a_list_that_the_filter_makes_is_made_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = "make it: python train.py predict --config configs/audioset_filter.yaml --config configs/paper/"
    with pytest.raises(InputError, match=f"{made}audioset_filter.yaml, then earshot prepare nearest$"):
        read_ids(Path("exports/audioset_filter_paper/nearest.csv"))


@pytest.mark.parametrize(
    ("name", "touched"),
    [
        ("YabcdefghiJK", {"YabcdefghiJK_30.000", "abcdefghiJK", "sub/YabcdefghiJK_60"}),
        ("abcdefghiJK_30_40.wav", {"YabcdefghiJK_30.000", "abcdefghiJK", "sub/YabcdefghiJK_60"}),
        ("elsewhere/YabcdefghiJK.flac", {"YabcdefghiJK_30.000", "abcdefghiJK", "sub/YabcdefghiJK_60"}),
        ("bell.wav", {"sub/bell"}),  # by the name of its file
        ("cafe\u0301", {"caf\u00e9.wav"}),
        ("sub/bell.wav", {"sub/bell"}),
        ("other/bell.wav", set()),
        ("Ybell", set()),
    ],
)
def test_all_clips_that_a_list_may_mean_are_touched(name: str, touched: set[str]) -> None:
    clips = ["YabcdefghiJK_30.000", "abcdefghiJK", "sub/YabcdefghiJK_60", "Yabcdefghijk", "sub/bell", "caf\u00e9.wav"]
    assert clips_touched([name], {clip: [clip, clip.split("/")[-1]] for clip in clips}) == touched
