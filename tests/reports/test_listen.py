"""The listening test: the page in a browser, from the first sound to the saved answers, and the table of them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from odd_media import tone, write_video

from datamodules.caption_table import read_rows
from datamodules.shards import write_shards
from evaluation.captions_file import Clip, rows_of, write_captions
from reports.__main__ import main

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "=cmd()|' /C calc'!A0",
    "[/] {{ 7*7 }}",
]
CLIPS = [f"clip {number}" for number in range(6)]
OURS = [*HOSTILE, "a bell rings", "the same"]
THEIRS = [*(f"a dog barks {number} times\u2028" for number in range(5)), "the same"]


def wav(seconds: float = 0.2, frequency: float = 440) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, 16000, frequency=frequency), 16000, format="WAV")
    return buffer.getvalue()


@pytest.fixture()
def study(in_tmp_path: Path) -> Path:
    """Two runs on the same six clips, and the clips' split; the captions of the last are the same."""
    write_shards(
        Path("data/mine/test"), ((clip, {"wav": wav(frequency=200 + 99 * at)}, {}) for at, clip in enumerate(CLIPS))
    )
    for run, captions in (("ours", OURS), ("theirs", THEIRS)):
        folder = Path("runs", run, "test-1")
        folder.mkdir(parents=True)
        write_captions(folder / "captions.csv", rows_of([Clip(*each, [], []) for each in zip(CLIPS, captions)]))
        (folder / "scores.json").write_text("{}")
        (folder / "config.yaml").write_text("data: {class_path: X, init_args: {root: data, test: mine/test}}\n")
    return in_tmp_path


def start(tab: Any, page: Path, rater: str) -> None:
    tab.goto(page.absolute().as_uri())
    tab.fill("#name", rater)
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#trial:not([hidden])")


def captions_of(tab: Any) -> list[str]:
    return tab.locator(".choice span").all_text_contents()


def answer(tab: Any, key: str) -> None:
    """By the keyboard alone."""
    if tab.evaluate("document.querySelector('#choices').disabled"):
        assert tab.locator("#hint").text_content() == "Play the sound first."
        tab.keyboard.press("1")  # before the sound: no answer
        assert not tab.locator(".choice :checked").count()
        tab.keyboard.press("Space")
        tab.wait_for_selector("#choices:enabled")
    tab.keyboard.press(key)
    tab.keyboard.press("Enter")


def save(tab: Any, name: str) -> Path:
    with tab.expect_download() as download:
        tab.click("#save")
    assert download.value.suggested_filename.endswith(".csv")
    download.value.save_as(name)
    return Path(name)


def test_two_raters_choose_and_their_files_are_read(study: Path, tab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    main(["listen", "runs/ours", "b=runs/theirs", "--seed", "3", "--output", "page.html"])
    assert "left out 1 of 6 clips" in capsys.readouterr().out
    source = Path("page.html").read_text()
    assert "onerror=alert" not in source.replace("\\u003cimg src=x onerror=alert", "") and "runs/theirs" not in source
    orders, files = [], []
    for rater in ("Ada", '=Bob,"x"'):
        start(tab, Path("page.html"), rater)
        order, first = [], 0
        for number in range(10):
            assert "of 5" in tab.locator("#heading").text_content()
            shown = captions_of(tab)
            assert len(shown) == 3 and shown[2] == "No preference" and not tab.locator(".choice img").count()
            ours = next(place for place, text in enumerate(shown) if text in OURS)
            assert {shown[0], shown[1]} == {shown[ours], THEIRS[OURS.index(shown[ours])]}
            first += ours == 0
            order.append((shown[ours], ours))
            if rater == "Ada" and number == 4:  # a closed page goes on where it was
                start(tab, Path("page.html"), rater)
                assert captions_of(tab) == shown
            answer(tab, "0" if number == 9 else str(ours + 1))
        assert first in (4, 6)  # sides are balanced: of five clips, two or three
        assert "10 of 10" in tab.locator("#count").text_content()
        orders.append(order)
        files.append(save(tab, f"{len(files)}.csv"))
    assert orders[0] != orders[1] and {text for text, _ in orders[0]} == set(OURS[:5])
    rows = [row for file in files for row in read_rows(file, "answers", "")]
    assert len(rows) == 20 and {row["rater"] for row in rows} == {"Ada", '=Bob,"x"'}
    assert [row["answer"] for row in rows].count("ours") == 18
    main(["listened", *map(str, files), "--samples", "200", "--output", "table.md"])
    table = {(row["question"], row["run"]): row for row in read_rows(Path("table.csv"), "rows", "")}
    assert float(table["1", "ours"]["value"]) == 1 and float(table["2", "ours"]["value"]) == 0.8
    assert float(table["2", "no preference"]["value"]) == 0.2 and table["1", "b"]["answers"] == "10"
    assert "question 2: Which caption is more likely" in Path("table.md").read_text()


def test_one_run_is_graded_and_answers_survive_without_storage(study: Path, tab: Any) -> None:
    tab.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } });")
    main(["listen", "runs/ours", "--clips", "3", "--question", "<b>Is it good?</b>", "--output", "page.html"])
    start(tab, Path("page.html"), "Ada")
    assert tab.locator("#question").text_content() == "<b>Is it good?</b>"
    for grade in "355":
        assert tab.locator("#graded").text_content() in OURS
        answer(tab, grade)
    tab.click("#again")
    tab.keyboard.press("Backspace")
    assert tab.locator("#heading").text_content() == "Sound 2 of 3"
    answer(tab, "4")
    tab.keyboard.press("Enter")
    main(["listened", str(save(tab, "a.csv")), "--output", "table.md"])
    (row,) = read_rows(Path("table.csv"), "rows", "")
    assert (row["run"], float(row["value"])) == ("ours", 4.0) and float(row["value_low"]) >= 3


def test_sounds_of_a_folder_of_files(study: Path, tab: Any) -> None:
    """By name without the ending; what browsers do not play comes as FLAC."""
    Path("files/sub").mkdir(parents=True)
    for number, clip in enumerate(CLIPS[:-1]):
        Path(f"files/sub/{clip}.wav").write_bytes(wav(0.1 + number / 10))
    write_video(Path(f"files/{CLIPS[-1]}.mkv"), "libx264", "aac", seconds=1)
    main(["listen", "runs/ours/test-1/captions.csv", "--sounds", "files", "--output", "page.html"])
    start(tab, Path("page.html"), "Ada")
    lengths = set()
    for _ in CLIPS:
        tab.keyboard.press("Space")
        tab.wait_for_selector("#choices:enabled")
        lengths.add(round(tab.evaluate("document.querySelector('#sound').duration"), 1))
        answer(tab, "2")
    assert lengths == {0.1, 0.2, 0.3, 0.4, 0.5, 1.0}


def test_sounds_are_found_where_the_test_noted_them(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").rename("elsewhere")
    Path("runs/ours/test-1/scores.json").write_text(
        json.dumps({"made_by": {"clips": {"folder": "elsewhere/mine/test"}}})
    )
    main(["listen", "runs/ours", "--output", "page.html"])
    assert "written to page.html" in capsys.readouterr().out
    assert Path("page.html").read_text().count("data:audio/wav;base64,") == len(CLIPS)


ROWS = "page,rater,clip_id,question,left,right,answer\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("listen runs/ours runs/ours", "expected one run to grade, or two of different names"),
        ("listen runs/ours a=runs/theirs b=runs/theirs", "expected one run to grade, or two"),
        ("listen runs/nothing", "expected a captions file at runs/nothing, found none"),
        ("listen runs/ours --sounds runs", "expected a sound of clip 'clip 0' in runs, found none, nor of 5 others"),
        ("listen runs/ours --clips 0", "expected a whole number of at least 1"),
        ("listen runs/ours --output runs", "expected a file as --output, found the folder runs"),
        ("listen alone.csv", "no configuration in .; name the split or folder by --sounds"),
        ("listen runs/number/test-1", "no configuration in runs/number/test-1; name the split or folder by --sounds"),
        ("listen runs/broken/test-1", "no configuration in runs/broken/test-1"),
        ("listen alone.csv again=alone.csv", "found the same captions of all of them"),
        ("listened nothing.csv", "save them from a page of: python -m reports listen"),
        ("listened columns.csv", "expected columns page, rater, clip_id"),
        ("listened wrong.csv", "expected a, b, no preference as answer to clip 'c' in wrong.csv, found 'z'"),
        ("listened twice.csv", "expected one answer of rater 'r' to clip 'c', found another in twice.csv"),
        ("listened pages.csv", "expected answers about a and b from one page, found those of another in pages.csv"),
        ("listened mixed.csv", "expected answers of one kind, found choices and grades"),
    ],
)
def test_mistakes_end_with_one_line(
    command: str, message: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_captions(Path("alone.csv"), rows_of([Clip("a", "a dog barks", [], [])]))
    for name, config in (("number", "data: 3\n"), ("broken", "data: [\n")):
        write_captions(Path("runs", name, "test-1", "captions.csv"), rows_of([Clip("a", "a dog barks", [], [])]))
        Path("runs", name, "test-1", "config.yaml").write_text(config)
    Path("columns.csv").write_text("page,rater\n1,2\n")
    Path("wrong.csv").write_text(ROWS + "p,r,c,q,a,b,z\n")
    Path("twice.csv").write_text(ROWS + "p,r,c,q,a,b,a\np,r,c,q,b,a,a\np,r,c,q,b,a,b\n")
    Path("pages.csv").write_text(ROWS + "p,r,c,q,a,b,a\np,r,c,q,a,x,a\nother,s,c,q,a,b,a\n")
    Path("mixed.csv").write_text(ROWS + "p,r,c,q,a,b,a\np,r,c,q,a,,5\n")
    with pytest.raises(SystemExit) as end:
        main(command.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith("error: ") and message in line


def test_intervals_are_over_raters_and_clips(tmp_path: Path) -> None:
    """Raters who contradict one another on every clip: the interval over raters spans everything."""
    rows = [f"p,r{rater},c{clip},q,a,b,{'ab'[rater % 2]}" for rater in range(4) for clip in range(50)]
    (tmp_path / "a.csv").write_text(ROWS + "\n".join(rows) + "\n")
    main(["listened", str(tmp_path / "a.csv"), "--output", str(tmp_path / "table.md")])
    row = read_rows(tmp_path / "table.csv", "rows", "")[0]
    assert (float(row["value"]), float(row["value_low"]), float(row["value_high"])) == (0.5, 0, 1)
    assert row["over_raters"] == f"0.500 ± {np.std([0, 1, 0, 1], ddof=1):.3f}"
