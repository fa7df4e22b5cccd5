"""Bootstrap intervals of scores over clips and training runs (Efron 1979), and permutations that move every clip."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A score and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f}" + ("" if np.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


def bootstrap_weights(num_clips: int, samples: int, seed: int) -> np.ndarray:
    """How often each resampled corpus contains each clip: (samples, num_clips)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_clips, np.full(num_clips, 1 / num_clips), size=samples).astype(np.float64)


def estimate(value: float, resampled: np.ndarray) -> Estimate:
    """The value with the 95% percentile interval of its resampled values (B,).

    Samples with nothing to score are nan and left out.
    """
    found = resampled[~np.isnan(resampled)]
    low, high = np.percentile(found, [2.5, 97.5]) if found.size else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))


def derangement(number: int, rng: np.random.Generator) -> np.ndarray:
    """A random permutation without a fixed point: (number,)."""
    while True:  # one permutation in e has none
        order = rng.permutation(number)
        if (order != np.arange(number)).all():
            return order
