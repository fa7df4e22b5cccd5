"""All scores of captions against references: BLEU, ROUGE-L and CIDEr-D here, METEOR and SPICE by Java, more by models.

SPIDEr, FENSE and SPIDEr-FL are made of others, clip by clip.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from evaluation import java_metrics
from evaluation.cider import CiderD
from evaluation.metric import Metric, NotComputed, Size, mean
from evaluation.overlap import bleu_score, bleu_statistics, rouge_l
from evaluation.spice import spice
from evaluation.tokens import MAX_ORDER, Tokens, tokenize

PENALTY = 0.9  # what a caption with a fluency error loses of its score (FENSE, section 3.2; DCASE's SPIDEr-FL)


class SentenceMetric(Protocol):
    """A metric that a model computes, whose corpus score is the mean over the clips.

    Attributes:
        name: its key in `evaluation.scores.TITLES`.
        model: folder or hub id, which scores.json notes.
    """

    name: str
    model: str

    def per_clip(self, captions: list[str], references: list[list[str]]) -> np.ndarray:
        """The scores (N,) of N tokenized captions against N lists of tokenized references.

        Raises:
            NotComputed: no such model, or it failed.
        """


@dataclass(frozen=True)
class Measurement:
    """Metrics by name, by name the reason why a metric was not computed, and the tokenizer: "ptb" or "words"."""

    metrics: dict[str, Metric]
    not_computed: dict[str, str]
    tokenizer: str


def measure(
    systems: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    work_folder: Path,
    java: bool = True,
    models: Sequence[SentenceMetric] = (),
    clip_ids: Sequence[str] | None = None,
) -> Measurement:
    """Measure R systems' captions of the same N clips.

    Args:
        systems: R lists of N captions.
        references: N lists of references, none of them empty.
        work_folder: SPICE keeps its parses here while it runs.
        java: False leaves METEOR, SPICE, SPIDEr and the PTB tokenizer out.
        models: metrics that need a model. With sentence similarity and fluency errors there is FENSE, with fluency
            errors SPIDEr-FL.
        clip_ids: N ids, by which SPICE names captions that are too long for it.
    """
    tokens, tokenizer = tokenize([*chain(*systems), *chain(*references)], java)
    rest = iter(tokens)
    said = [[next(rest) for _ in references] for _ in systems]  # R x N
    gold = [[next(rest) for _ in group] for group in references]  # N lists
    pairs = [(caption, group) for captions in said for caption, group in zip(captions, gold)]
    shape = len(systems), len(references)  # (R, N)

    bleu = np.array([bleu_statistics(*pair) for pair in pairs]).reshape(*shape, -1)
    metrics = {f"bleu_{order}": Metric(bleu, partial(bleu_score, order=order)) for order in range(1, MAX_ORDER + 1)}
    metrics["rouge_l"] = mean(np.array([rouge_l(*pair) for pair in pairs]).reshape(shape))
    metrics["caption_length"] = mean(np.array([len(caption) for caption, _ in pairs], dtype=float).reshape(shape))
    vocabulary = np.array([new_words(captions) for captions in said])[..., None]  # (R, N, 1)
    metrics["vocabulary"] = Size(vocabulary, lambda sums: sums[..., 0])
    not_computed: dict[str, str] = {}
    if len(references) > 1:
        cider = CiderD(gold)
        metrics["cider_d"] = mean(np.stack([cider.score(captions) for captions in said]))
    else:
        not_computed["cider_d"] = "it needs two clips or more"
    texts = [" ".join(caption) for caption, _ in pairs]
    groups = [[" ".join(reference) for reference in group] for _, group in pairs]

    def attempt(name: str, compute: Callable[[], Metric]) -> None:
        try:
            metrics[name] = compute()
        except NotComputed as reason:
            not_computed[name] = str(reason)

    def combine(name: str, first: str, second: str, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        if lacking := [part for part in (first, second) if part not in metrics]:
            not_computed[name] = not_computed[lacking[0]]
        else:
            metrics[name] = mean(rule(metrics[first].per_clip, metrics[second].per_clip))

    if java:
        attempt("meteor", lambda: meteor(texts, groups, shape))
        attempt("spice", lambda: mean(spice(texts, groups, work_folder, clip_ids).reshape(shape)))
    else:
        not_computed |= dict.fromkeys(("meteor", "spice"), "Java was left out on request")
    combine("spider", "spice", "cider_d", lambda spice, cider_d: (spice + cider_d) / 2)
    for model in models:
        attempt(model.name, lambda model=model: mean(model.per_clip(texts, groups).reshape(shape)))  # type: ignore[misc]
    asked = {model.name for model in models}
    for name, whole in (("fense", "sbert_sim"), ("spider_fl", "spider")):
        if "fer" in asked and (whole == "spider" or whole in asked):
            combine(name, whole, "fer", lambda score, error: score * (1 - PENALTY * error))
    return Measurement(metrics, not_computed, tokenizer)


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]], shape: tuple[int, int]) -> Metric:
    """METEOR of R * N captions, the N of the first system first; the shape is (R, N)."""
    counts = java_metrics.meteor_statistics(captions, references)
    return Metric(counts.reshape(*shape, -1), java_metrics.meteor_score)


def new_words(captions: Sequence[Tokens]) -> list[float]:
    """How many distinct words of each caption no caption before it has; the sum is the size of the vocabulary."""
    known: set[str] = set()
    counts = []
    for caption in captions:
        counts.append(float(len(set(caption) - known)))
        known |= set(caption)
    return counts
