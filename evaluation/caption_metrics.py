"""All scores of captions against references: BLEU, ROUGE-L and CIDEr-D here, METEOR, SPICE and SPIDEr by Java."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from evaluation import java_metrics
from evaluation.cider import CiderD
from evaluation.java_metrics import NotComputed
from evaluation.metric import Metric, mean
from evaluation.overlap import bleu_score, bleu_statistics, rouge_l
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

    def meteor() -> Metric:
        counts = java_metrics.meteor_statistics(texts, groups)
        return Metric(counts.reshape(len(said), clips, -1), java_metrics.meteor_score)

    def spice() -> Metric:
        return mean(java_metrics.spice(texts, groups, work_folder).reshape(len(said), clips))

    for name, compute in {"meteor": meteor, "spice": spice}.items():
        try:
            if not java:
                raise NotComputed("Java was left out on request")
            metrics[name] = compute()
        except NotComputed as reason:
            not_computed[name] = str(reason)
    if "spice" in metrics and "cider_d" in metrics:
        metrics["spider"] = mean((metrics["spice"].per_clip + metrics["cider_d"].per_clip) / 2)
    else:
        not_computed["spider"] = not_computed.get("spice") or not_computed["cider_d"]
    return Measurement(metrics, not_computed, tokenizer)
