"""A corpus score as statistics that add up over clips.

The score of a corpus, of one clip and of a bootstrap sample are then the same function of a sum. R systems that
captioned the same N clips are measured together; one evaluation is R = 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class NotComputed(Exception):
    """Why a metric that needs Java or a model was not computed."""


@dataclass(frozen=True)
class Metric:
    """A corpus score.

    Attributes:
        statistics: (R, N, S), the statistics of each system and clip.
        finish: from sums (..., S) to scores (...); nan where there is nothing to score.
    """

    statistics: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray]

    @property
    def scores(self) -> np.ndarray:
        """The corpus score of each system: (R,)."""
        return self.finish(self.statistics.sum(1))

    @property
    def per_clip(self) -> np.ndarray:
        """The score of each clip on its own: (R, N)."""
        return self.finish(self.statistics)

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The corpus scores where clip n counts `weights[b, n]` times: (B, N) -> (B, R)."""
        return self.finish(np.einsum("bn,rns->brs", weights, self.statistics, optimize=True))


class Size(Metric):
    """A size of the whole corpus, (R, N, 1): of parts of it, or where clips repeat, it would say something else."""

    @property
    def per_clip(self) -> np.ndarray:
        """Nothing, nan: (R, N)."""
        return np.full(self.statistics.shape[:2], np.nan)

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """Nothing, nan: (B, N) -> (B, R)."""
        return np.full((len(weights), len(self.statistics)), np.nan)


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Metric:
    """The metric sum of numerators / sum of denominators, both (R, N)."""

    def finish(sums: np.ndarray) -> np.ndarray:
        above, below = sums[..., 0], sums[..., 1]
        scores = np.full(above.shape, np.nan)
        np.divide(above, below, out=scores, where=below > 0)
        return scores

    return Metric(np.stack([numerators, denominators], axis=-1).astype(np.float64), finish)


def mean(scores: np.ndarray) -> Metric:
    """The metric that is the mean of the clips' scores (R, N)."""
    return ratio(scores, np.ones_like(scores))
