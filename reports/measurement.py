"""Measures the captions of all rows of a report together: scores, word scores, bootstrap intervals."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.clips import CaptionRows
from evaluation.bootstrap import bootstrap_weights, training_draws
from evaluation.caption_metrics import measure
from evaluation.metric import Metric
from evaluation.scores import TITLES, TOKENIZERS
from evaluation.word_scores import read_vocabulary, word_metrics
from reports.origin import seeds
from reports.table import Line, make_lines

WORD_COLUMNS = ("precision", "recall", "verb_recall", "visual_share")
NO_DOCUMENTS = "resampled corpora keep the document frequencies of all clips in CIDEr-D and SPIDEr"


@dataclass(frozen=True)
class Measured:
    """The table of the rows, what its numbers come from, and how they were measured.

    Attributes:
        lines: the table.
        metrics: by column, with statistics (R, N, S) of the R systems of all rows.
        weights: (B, N), the bootstrap samples.
        measured: entries of the section on how the report was measured.
    """

    lines: list[Line]
    metrics: dict[str, Metric]
    weights: np.ndarray
    measured: list[str]


def add_measurement(parser: argparse.ArgumentParser) -> None:
    """The options of a measurement."""
    add = parser.add_argument
    add("--vocabulary", type=Path, help="JSON file of event words and visual words; adds word scores")
    add("--samples", type=int, default=2000, help="bootstrap samples (%(default)s)")
    add("--seed", type=int, default=0, help="seed of the bootstrap and of other random draws (%(default)s)")
    add("--no-java", dest="java", action="store_false", help="leave METEOR, SPICE and PTB out")


def measure_rows(
    options: argparse.Namespace,
    columns: Sequence[str],
    paths: Mapping[str, Sequence[Path]],
    runs: Mapping[str, Sequence[CaptionRows]],
    without_model: Mapping[str, list[list[str]]],
    against: str | None = None,
    of: str | None = None,
) -> Measured:
    """Measure all rows at once.

    Args:
        options: of `add_measurement`, and the output.
        columns: scores to show, in order.
        paths: for each row its captions files.
        runs: for each row what these hold.
        without_model: rows that no model captioned; each has the captions of one draw or several.
        against: the row that differences are taken from.
        of: the row whose SPIDEr every other is a share of.
    """
    vocabulary = None if options.vocabulary is None else read_vocabulary(options.vocabulary)
    rows = next(iter(runs.values()))[0]
    systems = {name: [run["captions"] for run in group] for name, group in runs.items()} | dict(without_model)
    flat = [captions for group in systems.values() for captions in group]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found = measure(flat, rows["references"], options.output.parent, options.java)
    metrics = {key: found.metrics[key] for key in columns if key in found.metrics}
    if vocabulary is not None:
        words = word_metrics(flat, rows["labels"], vocabulary)
        metrics |= {key: words[key] for key in WORD_COLUMNS}
    number = len(rows["clip_ids"])
    weights = bootstrap_weights(number, options.samples, options.seed)
    rng = np.random.default_rng([options.seed, 1])  # a stream of its own, so that it does not change the clips drawn
    draws = {name: training_draws(len(group), options.samples, rng) for name, group in runs.items()}
    lines = make_lines({name: len(group) for name, group in systems.items()}, draws, metrics, weights, against, of)
    notes = [f"clips: N = {number}", seeds(paths), *_intervals(runs, options.samples, options.seed)]
    notes.append(f"tokens by {TOKENIZERS[found.tokenizer]}")
    notes += [f"{TITLES[key]} not computed: {reason}" for key, reason in found.not_computed.items() if key in columns]
    return Measured(lines, metrics, weights, notes)


def _intervals(runs: Mapping[str, Sequence[CaptionRows]], samples: int, seed: int) -> list[str]:
    """What the brackets and parentheses hold."""
    several = any(len(group) > 1 for group in runs.values())
    over = "clips and, in rows of several training runs, over these too" if several else "clips, not over training runs"
    notes = [
        f"brackets: 95% percentile bootstrap intervals over {over}; {samples} samples, seed {seed}; {NO_DOCUMENTS}"
    ]
    if several:
        notes.append(
            "a row of several training runs shows their mean, and in parentheses the lowest and the highest of them; "
            "resampling K runs shows (K-1)/K of the variance between them, so with few the intervals are too narrow"
        )
    return notes
