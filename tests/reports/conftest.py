from pathlib import Path

import pytest

from tests.reports.compared_runs import make_runs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs to compare, and a train list."""
    return make_runs(tmp_path)
