"""Krippendorff's alpha against the values in his paper, and where it has none."""

import numpy as np
import pytest

from reports.agreement import krippendorff_alpha

# Krippendorff (2011), example C: four observers, twelve units, with gaps
PAPER = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def read(text: str) -> np.ndarray:
    return np.array([[float(cell.replace(".", "nan")) for cell in line.split()] for line in text.split("\n") if line])


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_the_papers_example(level: str, alpha: float) -> None:
    answers = read(PAPER)
    assert krippendorff_alpha(answers, level) == pytest.approx(alpha, abs=5e-4)  # type: ignore[arg-type]
    shuffled = np.random.default_rng(0).permuted(answers, axis=0)  # who answered does not count
    assert krippendorff_alpha(shuffled, level) == pytest.approx(alpha, abs=5e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_limits(level: str) -> None:
    same = np.tile(np.arange(5.0), (3, 1))
    assert krippendorff_alpha(same, level) == 1  # type: ignore[arg-type]
    chance = np.random.default_rng(0).integers(0, 3, (5, 4000)).astype(float)
    assert abs(krippendorff_alpha(chance, level)) < 0.02  # type: ignore[arg-type]
    for nothing in (same[:1], np.ones((3, 5)), np.full((2, 3), np.nan)):
        assert np.isnan(krippendorff_alpha(nothing, level))  # type: ignore[arg-type]
