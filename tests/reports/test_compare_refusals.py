"""What `compare` does not compare."""

from pathlib import Path

import pytest

from evaluation.captions_file import write_captions
from reports.__main__ import main
from tests.reports.compared_runs import SOUNDS, rows_of, run_report


def test_constant_caption_from_the_clips_under_test_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_report(runs, "--constant-from", str(runs / "good" / "captions.csv"))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "found 40 of them" in error
    assert error.count("\n") == 1


def test_other_clips_are_refused_with_their_number(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fewer = rows_of([list(SOUNDS)[index % 4] for index in range(37)])
    write_captions(runs / "bad" / "captions.csv", fewer)
    with pytest.raises(SystemExit):
        run_report(runs)
    assert "found 3 that only one of 'good' and 'bad' has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--against", "nobody"], "found 'nobody'"),
        (["--shuffle", "nobody"], "found 'nobody'"),
        (["plain"], "found 'plain'"),
        (["good=elsewhere"], "found 'good' twice"),
        (["other=one,,two"], "found 'other=one,,two'"),
        (["other=one,two,"], "found 'other=one,two,'"),
        (["other=one,two,one"], "found a run twice in 'other=one,two,one'"),
        (["--logged", "val/gap"], "expected KEY=TITLE"),
        (["--logged", "val/gap=gap"], "expected val/gap"),
        (["other=elsewhere"], "captions file at elsewhere, found none"),
        (["good, shuffled=bad", "--shuffle", "good"], "found good, shuffled"),
    ],
)
def test_wrong_arguments_are_named(
    runs: Path, capsys: pytest.CaptureFixture[str], options: list[str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    with pytest.raises(SystemExit) as stop:
        main(["compare", f"good={runs / 'good'}", *options, "--no-java", "--output", str(runs / "table.md")])
    assert stop.value.code == 2
    assert found in capsys.readouterr().err


def test_a_training_on_other_clips_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_captions(runs / "bad" / "captions.csv", rows_of(["dog"] * 37))
    with pytest.raises(SystemExit) as stop:
        main(["compare", f"good={runs / 'good'}", f"method={runs / 'half'},{runs / 'bad'}", "--no-java"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert f"found 3 that only one of 'good' and 'method: {runs / 'bad' / 'captions.csv'}' has" in error
    assert error.count("\n") == 1


def test_other_references_are_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [list(SOUNDS)[index % 4] for index in range(40)]
    rows = rows_of(events)
    rows["references"][7] = ["something else"]
    write_captions(runs / "bad" / "captions.csv", rows)
    with pytest.raises(SystemExit):
        run_report(runs)
    assert "same references" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "-5"], "expected a whole number of at least 1, found -5"),
        (["--seed", "-1"], "expected a whole number of at least 0, found -1"),
        (["--shuffle", "good", "--shuffles", "-5"], "expected a whole number of at least 1, found -5"),
        (["--output", "."], "expected a file as --output, found the folder ."),
        (["--output", "good"], "expected a file as --output, found the folder good"),
        (["--output", "taken.md"], "expected a file as --output, found the folder taken.csv"),
        (["--output", "good/captions.csv/table.md"], "captions.csv"),
    ],
)
def test_options_that_cannot_be(
    runs: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    (runs / "taken.csv").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["compare", f"good={runs / 'good'}", "--no-java", *arguments])
    assert ended.value.code == 2 and message in capsys.readouterr().err
