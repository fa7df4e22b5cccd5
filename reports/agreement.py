"""Agreement between raters: Krippendorff's alpha (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011)."""

from typing import Literal

import numpy as np

Level = Literal["nominal", "ordinal"]


def krippendorff_alpha(answers: np.ndarray, level: Level) -> float:
    """1 where all raters agree, 0 where they agree as often as by chance, below 0 where less often.

    Args:
        answers: (R, N) float, of R raters on N clips; nan where a rater gave none. Clips with one answer do not count.
        level: "nominal" of answers that are equal or not, "ordinal" of grades.

    Returns:
        nan where no clip has two answers, or all answers are the same one.
    """
    values = np.unique(answers[~np.isnan(answers)])
    counts = (answers[None] == values[:, None, None]).sum(1).astype(float)  # (V, N), answers of each value
    raters = counts.sum(0)
    counts, raters = counts[:, raters > 1], raters[raters > 1]
    # the coincidence matrix (V, V): ordered pairs of answers within a clip, each clip weighted by its raters less one
    coincidences = (counts / np.maximum(raters - 1, 1)) @ counts.T - np.diag((counts / (raters - 1)).sum(1))
    totals = coincidences.sum(1)  # (V,)
    number = totals.sum()
    if level == "nominal":
        distance = 1.0 - np.eye(len(values))
    else:  # the answers that lie between two grades, with half of those that are one of the two
        middle = np.cumsum(totals) - totals / 2
        distance = (middle[:, None] - middle) ** 2
    expected = (np.outer(totals, totals) * distance).sum()
    if not expected:
        return float("nan")
    return float(1 - (number - 1) * (coincidences * distance).sum() / expected)
