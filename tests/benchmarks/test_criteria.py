"""The benchmark's floors: minutes on a quiet machine, so `pytest -m slow`."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_floors_hold() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.criteria"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
