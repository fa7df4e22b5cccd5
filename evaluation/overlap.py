"""BLEU (Papineni et al. 2002) and ROUGE-L (Lin 2004): n-grams and subsequences shared with references."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

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


@lru_cache(maxsize=2**17)
def _common_subsequence(first: Tokens, second: Tokens) -> int:
    row = [0] * (len(second) + 1)
    for token in first:
        previous = row
        row = [0]
        for index, other in enumerate(second):
            row.append(previous[index] + 1 if token == other else max(row[index], previous[index + 1]))
    return row[-1]


def rouge_l(caption: Tokens, references: Sequence[Tokens], beta: float = 1.2) -> float:
    """ROUGE-L (section 3) of the best precision and the best recall over the references, as in the COCO evaluation."""
    common = [_common_subsequence(caption, reference) for reference in references]
    precision = max(common) / max(len(caption), 1)
    recall = max(length / max(len(reference), 1) for length, reference in zip(common, references))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
