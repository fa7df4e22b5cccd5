"""No wrong input ends in a traceback, a hang or half an output; and the campaign would see one that does."""

from pathlib import Path

import pytest

from tests.campaigns.bad_commands import fit, toy
from tests.campaigns.bad_input import Case, all_cases, campaign, judged


def test_what_is_not_refused_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert judged(Case("", "good", ["--version"]))[0] == "exit code 0"
    bug = fit("--model", "tests.callbacks.test_refused_values.OwnError")
    outcome, error = judged(Case("", "bug", bug, toy))
    assert outcome == "traceback" and "a bug in a constructor" in error  # alone, or in the parser's words
    assert judged(Case("", "two lines", ["score"]))[0] == "one line"

    def writes(folder: Path) -> None:
        (folder / "in").mkdir()
        monkeypatch.setattr("train.main", lambda args: (folder / "left").touch() or exit(2))

    assert judged(Case("", "silent", ["train"], writes))[0] == "not one line"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_wrong_input_is_refused_in_one_line() -> None:
    cases = all_cases()
    assert len(cases) >= 200 and len({(case.area, case.what) for case in cases}) == len(cases)
    found = campaign(cases)
    assert [(case.area, case.what, how, said) for case, how, said in found if how != "one line"] == []
