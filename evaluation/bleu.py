"""BLEU (Papineni et al. 2002)."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from evaluation.tokens import MAX_ORDER, Tokens, ngrams


def bleu_statistics(caption: Tokens, references: Sequence[Tokens]) -> list[float]:
    """The counts that BLEU adds up over clips.

    For orders 1 to 4 the caption's n-grams that a reference has too, then all its n-grams; the caption's length;
    the length of the reference closest in length (the shorter of two).
    """
    found, allowed = ngrams(caption), Counter[Tokens]()
    for reference in references:
        allowed |= ngrams(reference)
    matches = [0] * MAX_ORDER
    for ngram, count in found.items():
        matches[len(ngram) - 1] += min(count, allowed[ngram])
    length = len(caption)
    totals = [max(0, length - order) for order in range(MAX_ORDER)]
    nearest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
    return [*matches, *totals, length, nearest]


def bleu_score(statistics: np.ndarray, order: int) -> np.ndarray:
    """BLEU of summed statistics: (..., 10) -> (...)."""
    small, tiny = 1e-9, 1e-15  # the COCO evaluation's guards against division by zero
    matches, totals = statistics[..., :order], statistics[..., MAX_ORDER : MAX_ORDER + order]
    length_ratio = (statistics[..., 8] + tiny) / (statistics[..., 9] + small)
    brevity = np.exp(1 - 1 / np.minimum(length_ratio, 1))
    scores: np.ndarray = brevity * np.prod((matches + tiny) / (totals + small), axis=-1) ** (1 / order)
    return scores
