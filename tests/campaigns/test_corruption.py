"""The corruption campaign finds nothing, and would find something; `train.py validate` says what reading says."""

import random
import shutil
from pathlib import Path

import pytest

from tests.campaigns.corruption import campaign, content, outcome, wrong
from tests.campaigns.damages import Case, cases, make_split
from train import main


def test_no_damage_is_silent_hangs_or_ends_in_a_traceback() -> None:
    found = campaign(150, seed=1)
    assert len(found) == 150 and wrong(found) == []


def test_what_nobody_names_is_found(tmp_path: Path) -> None:
    make_split(tmp_path)
    before = content(tmp_path)
    assert outcome(tmp_path, before) == ("unharmed", "")
    before[0][1]["captions"] = ["another"]
    assert outcome(tmp_path, before) == ("silent", "")
    (tmp_path / "000000.ids.json").write_text("[" * 10**5)  # a RecursionError, which reading ids does not expect
    assert outcome(tmp_path, before)[0] == "traceback"


def named_cases() -> list[Case]:
    """Every fifth of those that a reader of the audio alone must name."""
    return [case for case in cases() if case.must == "named" and case.region not in ("image", "ids beside a tar")][::5]


@pytest.mark.slow
def test_validate_ends_in_the_same_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    split = tmp_path / "corpus" / "val"
    stage = ["--model", "tests.datamodules.toy_run.NotesClips", "--model.folder", str(tmp_path)]
    data = ["--data", "datamodules.clip_datamodule.ClipDataModule", "--data.root", str(tmp_path)]
    more = ["--data.val", "corpus/val", "--trainer.accelerator", "cpu", "--trainer.logger", "false"]
    for number, case in enumerate(named_cases()):
        shutil.rmtree(split, ignore_errors=True)
        make_split(split)
        case.damage(split, random.Random(0))
        with pytest.raises(SystemExit) as ended:
            main(["validate", "--run_name", "x", *stage, *data, *more, "--data.num_workers", str(number % 2)])
        said = capsys.readouterr().err
        assert ended.value.code == 2 and "Traceback" not in said, (case, said)
        assert len([line for line in said.splitlines() if line.startswith("error: expected ")]) == 1, (case, said)
