"""Scores of captions against references: BLEU, ROUGE-L and CIDEr-D here, METEOR, SPICE and SPIDEr by Java.

Every metric is kept as statistics that add up over clips and a function that makes a score of their sum.
A corpus score, the score of one clip and the scores of bootstrap samples are then the same few operations.

R systems that captioned the same N clips are measured together; one evaluation is R = 1.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from evaluation import java_metrics
from evaluation.java_metrics import NotComputed

Tokens = tuple[str, ...]
MAX_ORDER = 4  # of n-grams, in BLEU and in CIDEr-D
# One line per token kind: "do" of "don't", "n't", "'s", words with inner hyphens, points or commas.
_WORD = re.compile(r"\w+(?=n't\b)|n't\b|'\w+|\w+(?:[-.,]\w+)*")


@dataclass(frozen=True)
class Metric:
    """A corpus score.

    Attributes:
        statistics: (R, N, S) of each system and clip; they add up over clips.
        finish: sums (..., S) -> scores (...); nan where there is nothing to score.
    """

    statistics: np.ndarray
    finish: Callable[[np.ndarray], np.ndarray]

    @property
    def scores(self) -> np.ndarray:
        """The corpus score of each system: (R,)."""
        return self.finish(self.statistics.sum(1))

    @property
    def per_clip(self) -> np.ndarray:
        """The score of each clip taken alone: (R, N)."""
        return self.finish(self.statistics)

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The corpus scores where clip n counts `weights[b, n]` times: (B, N) -> (B, R)."""
        return self.finish(np.einsum("bn,rns->brs", weights, self.statistics, optimize=True))


@dataclass(frozen=True)
class Measurement:
    """Metrics by name, why others were not computed, and the tokenizer: "ptb" or "words"."""

    metrics: dict[str, Metric]
    not_computed: dict[str, str]
    tokenizer: str


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> Metric:
    """The metric sum of numerators / sum of denominators, both (R, N)."""

    def finish(sums: np.ndarray) -> np.ndarray:
        above, below = sums[..., 0], sums[..., 1]
        return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)

    return Metric(np.stack([numerators, denominators], axis=-1).astype(np.float64), finish)


def mean(scores: np.ndarray) -> Metric:
    """The metric that is the mean of the clips' scores (R, N)."""
    return ratio(scores, np.ones_like(scores))


@lru_cache(maxsize=2**17)
def words(sentence: str) -> Tokens:
    """Lower-cased words without punctuation: what stands in for PTB where there is no Java.

    The two agree on plain sentences. They part on brackets, quotes, slashes, symbols and most abbreviations,
    so scores made with different tokenizers are not to be compared.
    """
    return tuple(_WORD.findall(sentence.lower()))


def tokenize(sentences: Sequence[str], java: bool = True) -> tuple[list[Tokens], str]:
    """Tokens of each sentence, and the tokenizer: "ptb" where Java and its file are there, else "words"."""
    lines = [" ".join(sentence.split()) for sentence in sentences]
    if java:
        try:
            return [tuple(tokens) for tokens in java_metrics.tokenize(lines)], "ptb"
        except NotComputed:
            pass
    return [words(line) for line in lines], "words"


@lru_cache(maxsize=2**14)
def _ngrams(tokens: Tokens) -> Counter[Tokens]:
    return Counter(
        tokens[start : start + order] for order in range(1, MAX_ORDER + 1) for start in range(len(tokens) - order + 1)
    )


def bleu_statistics(caption: Tokens, references: Sequence[Tokens]) -> list[float]:
    """n-grams of the caption that stand in a reference (orders 1 to 4), all its n-grams (1 to 4), its length,
    the length of the reference nearest in length (the shorter one of two)."""
    found, allowed = _ngrams(caption), Counter[Tokens]()
    for reference in references:
        allowed |= _ngrams(reference)
    matches = [0] * MAX_ORDER
    for ngram, count in found.items():
        matches[len(ngram) - 1] += min(count, allowed[ngram])
    length = len(caption)
    totals = [max(0, length - order) for order in range(MAX_ORDER)]
    nearest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
    return [*matches, *totals, length, nearest]


def bleu_score(statistics: np.ndarray, order: int) -> np.ndarray:
    """BLEU (Papineni et al. 2002) of summed statistics (..., 10) -> (...)."""
    small, tiny = 1e-9, 1e-15  # against division by zero, as in the COCO evaluation
    matches, totals = statistics[..., :order], statistics[..., MAX_ORDER : MAX_ORDER + order]
    length_ratio = (statistics[..., 8] + tiny) / (statistics[..., 9] + small)
    brevity = np.exp(1 - 1 / np.minimum(length_ratio, 1))
    return brevity * np.prod((matches + tiny) / (totals + small), axis=-1) ** (1 / order)


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
    """ROUGE-L (Lin 2004, section 3) as the COCO evaluation has it: best precision and best recall apart."""
    common = [_common_subsequence(caption, reference) for reference in references]
    precision = max(common) / max(len(caption), 1)
    recall = max(length / max(len(reference), 1) for length, reference in zip(common, references))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, section 4 and equation 9), times 10, with this corpus' idf.

    Args:
        references: N lists of tokenized references, each with one at least.
    """

    sigma = 6.0

    def __init__(self, references: Sequence[Sequence[Tokens]]) -> None:
        self.log_documents = math.log(len(references))
        self.frequency: Counter[Tokens] = Counter()
        for clip_references in references:
            self.frequency.update({ngram for reference in clip_references for ngram in _ngrams(reference)})
        distinct = {reference: None for clip_references in references for reference in clip_references}
        position = {reference: index for index, reference in enumerate(distinct)}
        self.owners = [np.array([position[reference] for reference in group]) for group in references]
        self.shares = np.zeros(len(distinct))  # of each distinct reference in the mean over all clips
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
        """tf-idf of the n-grams that do not stand in every clip's references."""
        idf = {ngram: self.log_documents - math.log(max(1, self.frequency[ngram])) for ngram in _ngrams(tokens)}
        return {ngram: count * idf[ngram] for ngram, count in _ngrams(tokens).items() if idf[ngram] > 0}

    def _similarities(self, caption: Tokens) -> np.ndarray:
        """To each of the U distinct references: (U,), already times 10."""
        products = np.zeros_like(self.norms)  # (MAX_ORDER, U)
        norms = np.zeros((MAX_ORDER, 1))
        for ngram, weight in self._weights(caption).items():
            norms[len(ngram) - 1] += weight**2
            if ngram in self.postings:
                where, weights = self.postings[ngram]
                products[len(ngram) - 1, where] += np.minimum(weight, weights) * weights
        scale = np.sqrt(norms) * self.norms
        cosines = np.divide(products, scale, out=products, where=scale > 0)
        # The published code counts lengths in bigrams; so do we, or one-word captions would score otherwise.
        penalty = np.exp(-((max(len(caption) - 1, 0) - self.lengths) ** 2) / (2 * self.sigma**2))
        return 10 * penalty * cosines.mean(0)

    def score(self, captions: Sequence[Tokens]) -> np.ndarray:
        """Of each clip's caption: (N,)."""
        similarities = lru_cache(maxsize=256)(self._similarities)  # captions repeat themselves
        return np.array([similarities(text)[own].mean() for text, own in zip(captions, self.owners)])

    def score_everywhere(self, caption: Tokens) -> float:
        """The corpus score of a system that says the same of every clip."""
        return float(self._similarities(caption) @ self.shares)


def measure(
    systems: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    work_folder: Path,
    java: bool = True,
) -> Measurement:
    """Measure R systems' captions of the same N clips.

    Args:
        systems: R lists of N captions.
        references: N lists of references, each with one at least.
        work_folder: where SPICE keeps its parses while it runs.
        java: False leaves Java alone even where it is there.
    """
    sentences = [caption for captions in systems for caption in captions]
    number = len(sentences)
    sentences += [reference for group in references for reference in group]
    tokens, tokenizer = tokenize(sentences, java)
    rest = iter(tokens[number:])
    gold = [[next(rest) for _ in group] for group in references]  # N lists
    clips = len(references)
    said = [tokens[start : start + clips] for start in range(0, number, clips)]  # R x N
    pairs = [(caption, group) for captions in said for caption, group in zip(captions, gold)]

    bleu = np.array([bleu_statistics(*pair) for pair in pairs]).reshape(len(said), clips, -1)
    metrics = {f"bleu_{order}": Metric(bleu, partial(bleu_score, order=order)) for order in range(1, MAX_ORDER + 1)}
    metrics["rouge_l"] = mean(np.array([rouge_l(*pair) for pair in pairs]).reshape(len(said), clips))
    not_computed = {}
    if clips > 1:
        cider = CiderD(gold)
        metrics["cider_d"] = mean(np.stack([cider.score(captions) for captions in said]))
    else:
        not_computed["cider_d"] = "it needs two clips or more"

    texts = [" ".join(caption) for caption, _ in pairs]
    groups = [[" ".join(reference) for reference in group] for _, group in pairs]
    try:
        if not java:
            raise NotComputed("Java was left out on request")
        meteor = java_metrics.meteor_statistics(texts, groups).reshape(len(said), clips, -1)
        metrics["meteor"] = Metric(meteor, java_metrics.meteor_score)
    except NotComputed as reason:
        not_computed["meteor"] = str(reason)
    try:
        if not java:
            raise NotComputed("Java was left out on request")
        metrics["spice"] = mean(java_metrics.spice(texts, groups, work_folder).reshape(len(said), clips))
    except NotComputed as reason:
        not_computed["spice"] = str(reason)
    if "spice" in metrics and "cider_d" in metrics:
        metrics["spider"] = mean((metrics["spice"].per_clip + metrics["cider_d"].per_clip) / 2)
    else:
        not_computed["spider"] = not_computed.get("spice") or not_computed["cider_d"]
    return Measurement(metrics, not_computed, tokenizer)
