"""python -m evaluation on the hand-made file."""

import json
import shutil
from pathlib import Path

import pytest

from evaluation import java_files
from evaluation.__main__ import main

BY_HAND = Path(__file__).parents[1] / "captions_by_hand.csv"


def test_scores_a_file(tmp_path: Path, recorded: dict, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.csv"
    shutil.copy(BY_HAND, path)
    main([str(path), "--no-java"])
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["cider_d"] == pytest.approx(recorded["corpus"]["cider_d"])
    assert scores["not_computed"].keys() == {"meteor", "spice", "spider"}
    assert "precision" not in scores
    assert path.read_bytes() == BY_HAND.read_bytes()
    assert "CIDEr-D" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], "found none; name one"),
        (["nowhere.csv"], "captions file at nowhere.csv"),
        ([str(BY_HAND), "--vocabulary", "nowhere.json"], "vocabulary at nowhere.json"),
    ],
)
def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], found: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--no-java"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert found in error
    assert error.count("\n") == 1


def test_fetch_reports_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(java_files, "fetch", lambda: ["a.jar", "b.jar"])
    main(["--fetch"])
    assert "2 files fetched" in capsys.readouterr().out


def test_fetch_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> list[str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(java_files, "fetch", full)
    with pytest.raises(SystemExit) as stop:
        main(["--fetch"])
    assert stop.value.code == 2
    assert "No space left" in capsys.readouterr().err
