"""The kill campaign finds nothing, and would find something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from tests.campaigns.end_state import differences, global_batches, history
from tests.campaigns.kills import Kill, Run
from tests.campaigns.kills_page import page
from tests.campaigns.watched import Attempt


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_runs_end_as_unbroken_ones(tmp_path: Path) -> None:
    """In a process of its own: it forks."""
    stages = ["--stages", "prefix tuning", "audibility"]
    places = ["--folder", str(tmp_path), "--output", str(tmp_path / "kills.md")]
    command = [sys.executable, "-m", "tests.campaigns.kills", "--kills", "12", *stages, *places]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    written = (tmp_path / "kills.md").read_text()
    assert "12 times `kill -9`" in written and "0 ended otherwise" in written


def batch(position: int, step: int, *rows: str) -> dict:
    return {"position": position, "step": step, "rows": list(rows)}


def test_lost_and_repeated_batches_are_found() -> None:
    first = [batch(0, 0, "a"), batch(1, 1, "b"), batch(2, 2, "c")]
    seen, wrong = history([first, [batch(1, 1, "b"), batch(2, 2, "c"), batch(3, 3, "d")]])
    assert [each["rows"] for each in seen] == [["a"], ["b"], ["c"], ["d"]] and not wrong
    assert history([first, []])[0] == first, "killed before its first batch"
    assert "begins at batch 4, 3 were seen" in history([first, [batch(4, 4, "e")]])[1][0]
    assert "batch 2 has other rows" in history([first, [batch(2, 2, "x")]])[1][0]
    assert "missing or there twice" in history([[batch(0, 0, "a"), batch(0, 0, "a")]])[1][0]


def test_a_global_batch_is_that_of_all_ranks() -> None:
    one = [[batch(0, 0, "a", "b"), batch(1, 0, "c", "d"), batch(2, 1, "e", "f")]]
    two = [[batch(0, 0, "a", "b"), batch(1, 1, "e")], [batch(0, 0, "d", "c"), batch(1, 1, "f")]]
    assert global_batches(one) == global_batches(two) == [["a", "b", "c", "d"], ["e", "f"]]


def test_whatever_differs_is_named() -> None:
    whole = {"weights": {"a": torch.ones(2)}, "step": 4, "rates": [0.5]}
    assert not differences({"weights": {"a": torch.ones(2)}, "step": 4, "rates": [0.5]}, whole)
    near = {"weights": {"a": torch.ones(2) + 3e-6}, "step": 4, "rates": [0.5 + 3e-6]}
    assert len(differences(near, whole)) == 2 and not differences(near, whole, 1e-5)
    assert differences({"weights": {"a": torch.full((2,), torch.nan)}, "step": 4, "rates": [0.5]}, whole, 1e-5)
    assert differences({**whole, "step": 5}, whole, 1e-5) == ["/step is 5, unbroken 4"]
    assert differences({"weights": {}, "step": 4, "rates": [0.5, 0.1]}, whole)[0] == (
        "/weights/a is only in the unbroken run's"
    )


def test_the_page_counts_kills_by_the_phase_they_came_in() -> None:
    kills = [Kill("fit", "audibility", "1-2", "any time", phase, False, []) for phase in ("start", "checkpoint")]
    good, bad = Run(0, "fit", "audibility", "1-2", "c0ffee", kills=kills), Run(1, "fit", "alignment", "2", "c0ffee")
    bad.problems = ["the curve differs", "so does the export"]
    written = page([good, bad], 0, {"command": "python -m tests.campaigns.kills"})
    assert "| audibility | 1 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | 0 | 2 |" in written
    assert "| 1, then 2 | 2 | 1 | 0 | 0 |" in written
    assert "- fit of alignment, processes 2, at c0ffee: the curve differs (and 1 more)" in written


def test_the_length_of_a_phase_ends_with_the_next() -> None:
    made = Attempt(events=[(2.0, "setup", 0), (3.0, "step", 0), (3.5, "step", 1)], seconds=5.0)
    assert made.durations() == {"start": 2.0, "setup": 1.0, "step": 1.0} and made.phase == "step"
