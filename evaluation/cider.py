"""CIDEr-D (Vedantam et al. 2015)."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from evaluation.tokens import MAX_ORDER, Tokens, ngrams


class CiderD:
    """CIDEr-D (section 4, equation 9), times 10, with the document frequencies of this corpus.

    Args:
        references: N lists of tokenized references, none of them empty.
    """

    sigma = 6.0

    def __init__(self, references: Sequence[Sequence[Tokens]]) -> None:
        self.log_documents = math.log(len(references))
        self.frequency: Counter[Tokens] = Counter()
        for clip_references in references:
            self.frequency.update({ngram for reference in clip_references for ngram in ngrams(reference)})
        distinct = {reference: None for clip_references in references for reference in clip_references}
        position = {reference: index for index, reference in enumerate(distinct)}
        self.owners = [np.array([position[reference] for reference in group]) for group in references]
        self.shares = np.zeros(len(distinct))  # weight of each distinct reference in the mean over clips
        for own in self.owners:
            np.add.at(self.shares, own, 1 / (len(own) * len(self.owners)))
        self.lengths = np.array([max(len(reference) - 1, 0) for reference in distinct])  # (U,)
        self.norms = np.zeros((MAX_ORDER, len(distinct)))
        postings: dict[Tokens, list[tuple[int, float]]] = defaultdict(list)
        for index, reference in enumerate(distinct):
            for ngram, weight in self._weights(reference).items():
                postings[ngram].append((index, weight))
                self.norms[len(ngram) - 1, index] += weight**2
        self.norms = np.sqrt(self.norms)
        self.postings = {
            ngram: (np.array([index for index, _ in found]), np.array([weight for _, weight in found]))
            for ngram, found in postings.items()
        }

    def _weights(self, tokens: Tokens) -> dict[Tokens, float]:
        """tf-idf of the n-grams that some clip's references lack."""
        idf = {ngram: self.log_documents - math.log(max(1, self.frequency[ngram])) for ngram in ngrams(tokens)}
        return {ngram: count * idf[ngram] for ngram, count in ngrams(tokens).items() if idf[ngram] > 0}

    def _similarities(self, caption: Tokens) -> np.ndarray:
        """The caption's similarity to each of the U distinct references, times 10: (U,)."""
        products = np.zeros_like(self.norms)  # (MAX_ORDER, U)
        norms = np.zeros((MAX_ORDER, 1))
        for ngram, weight in self._weights(caption).items():
            norms[len(ngram) - 1] += weight**2
            if ngram in self.postings:
                where, weights = self.postings[ngram]
                products[len(ngram) - 1, where] += np.minimum(weight, weights) * weights
        scale = np.sqrt(norms) * self.norms
        cosines = np.divide(products, scale, out=products, where=scale > 0)
        # Lengths are counted in bigrams as in the published code, which decides the score of one-word captions.
        penalty = np.exp(-((max(len(caption) - 1, 0) - self.lengths) ** 2) / (2 * self.sigma**2))
        similarities: np.ndarray = 10 * penalty * cosines.mean(0)
        return similarities

    def score(self, captions: Sequence[Tokens]) -> np.ndarray:
        """The score of each clip's caption: (N,)."""
        similarities = lru_cache(maxsize=256)(self._similarities)  # many clips get the same caption
        return np.array([similarities(text)[own].mean() for text, own in zip(captions, self.owners)])

    def score_everywhere(self, caption: Tokens) -> float:
        """The corpus score of a system that gives every clip the same caption."""
        return float(self._similarities(caption) @ self.shares)
