"""python -m evaluation on the hand-made file."""

import json
import shutil
from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from evaluation import java_files
from evaluation.__main__ import main
from evaluation.captions_file import clips_of, read_captions, rows_of, write_captions

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


def test_clips_without_references_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_captions(BY_HAND)
    references = [group if number % 3 else [""] for number, group in enumerate(rows["references"])]
    write_captions(tmp_path / "some.csv", CaptionRows(**{**rows, "references": references}))  # type: ignore[typeddict-item]
    kept = [clip for number, clip in enumerate(clips_of(rows)) if number % 3]
    (tmp_path / "alone").mkdir()
    write_captions(tmp_path / "alone" / "kept.csv", rows_of(kept))
    for path in ("some.csv", "alone/kept.csv"):
        main([str(tmp_path / path), "--no-java"])
    some, alone = (json.loads((tmp_path / path / "scores.json").read_text()) for path in (".", "alone"))
    assert some == alone | {"num_without_references": 4} and some["num_clips"] == 8
    assert capsys.readouterr().out.count("not scored: 4 of 12 clips, which have no references: c01, c04, c07") == 1


def test_no_reference_at_all_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bare.csv").write_text("clip_id,caption,references\na,rain,[]\nb,wind,[]\n")
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "bare.csv"), "--no-java"])
    assert stop.value.code == 2
    assert "found none for 2 clips such as 'a'" in capsys.readouterr().err


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
