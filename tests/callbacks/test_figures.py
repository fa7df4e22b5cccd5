"""The gap's numbers by hand, and the picture."""

from pathlib import Path

import pytest
import torch

from callbacks.figures import draw, measure_gap


def test_numbers_by_hand() -> None:
    """Means (0.5, 0.5) and (0, 1); the second sound is nearer to the first one's text than to its own."""
    audio = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    text = torch.tensor([[0.6, 0.8], [-0.6, 1.2]])
    numbers = measure_gap(audio, text)
    assert numbers["norm"] == pytest.approx(0.5**0.5)
    assert numbers["nearest_is_own"] == 0.0  # of the first, (-0.6, 1.2) at cosine 0.89 is nearer than its own at 0.8
    assert measure_gap(audio, audio) == {"norm": 0.0, "nearest_is_own": 1.0}
    assert measure_gap(audio, text[[0, 0]])["nearest_is_own"] == 1.0  # the same sentence twice is one


def test_picture(tmp_path: Path) -> None:
    pair = (torch.randn(12, 8), torch.randn(12, 8))
    draw(tmp_path / "x", "N = 12", {"before": [each.numpy() for each in (*pair, pair[0][:0])]})
    assert (tmp_path / "x.png").stat().st_size > 10_000
