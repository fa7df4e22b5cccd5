"""ROUGE-L (Lin 2004)."""

from collections.abc import Sequence
from functools import lru_cache

from evaluation.tokens import Tokens


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
