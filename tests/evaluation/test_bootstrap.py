"""Intervals that cover, pairs that agree, shuffles that shuffle."""

import numpy as np

from evaluation.bootstrap import bootstrap_weights, derangement, estimate
from evaluation.metric import mean


def test_intervals_cover_the_truth() -> None:
    """95% intervals of the mean of 60 draws hold the true mean in 88 to 99% of 200 worlds."""
    rng = np.random.default_rng(0)
    weights = bootstrap_weights(60, 400, seed=1)
    assert weights.shape == (400, 60)
    assert (weights.sum(1) == 60).all()
    metric = mean(rng.exponential(1.0, size=(200, 60)))
    samples = metric.resampled(weights)
    held = 0
    for world in range(200):
        found = estimate(float(metric.scores[world]), samples[:, world])
        assert found.low < found.value < found.high
        held += found.low < 1 < found.high
    assert 0.88 <= held / 200 <= 0.99


def test_samples_without_a_score_are_left_out() -> None:
    found = estimate(0.5, np.array([np.nan] * 50 + [0.4] * 50))
    assert (found.low, found.high) == (0.4, 0.4)
    assert str(estimate(np.nan, np.full(10, np.nan))) == "-"


def test_paired_differences_are_narrower_than_unpaired() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(size=100)  # what makes a clip hard for both systems
    metric = mean(np.stack([hard, hard + 0.1 + 0.05 * rng.normal(size=100)]))
    samples = metric.resampled(bootstrap_weights(100, 500, seed=0))
    paired = np.ptp(samples[:, 1] - samples[:, 0])
    assert paired < 0.2 * np.ptp(samples[:, 1])


def test_derangements_move_everything() -> None:
    rng = np.random.default_rng(0)
    for number in (2, 3, 10, 200):
        order = derangement(number, rng)
        assert sorted(order) == list(range(number))
        assert (order != np.arange(number)).all()
