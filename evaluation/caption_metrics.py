"""All scores of captions against references: BLEU, ROUGE-L and CIDEr-D here, METEOR, SPICE and SPIDEr by Java."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from evaluation import java_metrics
from evaluation.cider import CiderD
from evaluation.java_metrics import NotComputed
from evaluation.metric import Metric, mean
from evaluation.overlap import bleu_score, bleu_statistics, rouge_l
from evaluation.spice import spice
from evaluation.tokens import MAX_ORDER, tokenize


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
) -> Measurement:
    """Measure R systems' captions of the same N clips.

    Args:
        systems: R lists of N captions.
        references: N lists of references, none of them empty.
        work_folder: SPICE keeps its parses here while it runs.
        java: False leaves METEOR, SPICE, SPIDEr and the PTB tokenizer out.
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
    not_computed = {}
    if len(references) > 1:
        cider = CiderD(gold)
        metrics["cider_d"] = mean(np.stack([cider.score(captions) for captions in said]))
    else:
        not_computed["cider_d"] = "it needs two clips or more"
    if java:
        texts = [" ".join(caption) for caption, _ in pairs]
        groups = [[" ".join(reference) for reference in group] for _, group in pairs]
        try:
            counts = java_metrics.meteor_statistics(texts, groups)
            metrics["meteor"] = Metric(counts.reshape(*shape, -1), java_metrics.meteor_score)
        except NotComputed as reason:
            not_computed["meteor"] = str(reason)
        try:
            metrics["spice"] = mean(spice(texts, groups, work_folder).reshape(shape))
        except NotComputed as reason:
            not_computed["spice"] = str(reason)
    else:
        not_computed |= dict.fromkeys(("meteor", "spice"), "Java was left out on request")
    if "spice" in metrics and "cider_d" in metrics:
        metrics["spider"] = mean((metrics["spice"].per_clip + metrics["cider_d"].per_clip) / 2)
    else:
        not_computed["spider"] = not_computed.get("spice") or not_computed["cider_d"]
    return Measurement(metrics, not_computed, tokenizer)
