"""Which clips of a page get sound and image: the worst, the best, and some drawn at random."""

from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np

RANDOM = 20  # that the page begins with


def drawn(number: int, seed: int = 0) -> list[int]:
    """RANDOM of so many clips, or all of them, in order."""
    return sorted(np.random.default_rng(seed).permutation(number)[:RANDOM].tolist())


def chosen(scores: Sequence[float | None], clips: int, seed: int = 0) -> list[int]:
    """`clips` numbers of clips: in turn one at random, the worst, the best, the next at random, ...

    Args:
        scores: of each clip; clips without one can only be drawn at random.
        clips: how many.
        seed: of the random ones, which begin with those of `drawn`.
    """
    order = sorted((index for index, score in enumerate(scores) if score is not None), key=lambda i: scores[i] or 0.0)
    first = drawn(len(scores), seed)
    others = [i for i in np.random.default_rng([seed, 1]).permutation(len(scores)).tolist() if i not in set(first)]
    turns = chain.from_iterable(zip_longest([*first, *others], order, order[::-1]))
    return list(dict.fromkeys(index for index in turns if index is not None))[:clips]
