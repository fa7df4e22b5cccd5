"""What the benchmark of signals makes of steps, and that it runs."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.signal_agreement import in_pairs, main, tells


def test_blocks_are_compared_in_pairs_without_their_first_step() -> None:
    told = [tells(step, 3) for step in range(12)]
    assert told == [True] * 3 + [False] * 6 + [True] * 3
    seconds = np.array([9.0, 2, 4, 9, 1, 1, 9, 2, 2, 9, 6, 6, 7])  # a step of a block that is not whole at the end
    with_it, without = in_pairs(seconds, 3)
    assert with_it.tolist() == [3, 6] and without.tolist() == [1, 2]


@pytest.mark.slow
def test_a_short_measurement(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    main(["--pairs", "2", "--block", "3", "--output", str(page)])
    cells = page.read_text().splitlines()[2].split("|")
    assert float(cells[3]) > 0 and float(cells[4]) > 0 and float(cells[5]) > 0
