"""The benchmark's floor: minutes on a quiet machine, so `pytest -m slow`."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_floor_holds() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.prepare"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| video | " in done.stdout
