"""The table of several systems on the same clips: scores with bootstrap intervals, differences and shares."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.bootstrap import Estimate, bootstrap_weights, estimate
from evaluation.caption_metrics import measure
from evaluation.metric import Metric
from evaluation.scores import TITLES, TOKENIZERS, lacking
from evaluation.word_scores import read_vocabulary, word_metrics
from reports.model_scores import model_metrics
from reports.origin import recorded, seeds

COMPARED = ("cider_d", "verb_recall")
WORD_COLUMNS = ("precision", "recall", "verb_recall", "visual_share")


@dataclass(frozen=True)
class Spread:
    """A number from each training run, one or more."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        mean, *ends = (
            f"{number:.3f}" if number == 0 or abs(number) >= 0.01 else f"{number:.2g}"
            for number in (float(np.mean(self.values)), min(self.values), max(self.values))
        )
        return f"{mean} ({' to '.join(ends)})" if len(self.values) > 1 else mean


NOT_GIVEN = "n/a"  # a number that a paper does not print
Cell = Estimate | Spread | str
Line = dict[str, Cell]


class Measured(NamedTuple):
    """The table of the rows, what its numbers come from, and how they were measured."""

    lines: list[Line]
    metrics: dict[str, Metric]  # by column, with statistics (R, N, S) of the R systems of all rows
    weights: np.ndarray  # (B, N), the bootstrap samples
    measured: list[str]  # entries of the section on how the report was measured


def add_measurement(parser: argparse.ArgumentParser) -> None:
    """The options of a measurement."""
    add = parser.add_argument
    add("--vocabulary", type=Path, help="JSON file of event words and visual words; adds word scores")
    add("--samples", type=at_least(1), default=2000, help="bootstrap samples (%(default)s)")
    add("--seed", type=at_least(0), default=0, help="seed of the bootstrap and of other random draws (%(default)s)")
    add("--no-java", dest="java", action="store_false", help="leave METEOR, SPICE and PTB out")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` on."""

    def number(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise InputError(f"expected a whole number of at least {least}, found {text}; correct it")
        return int(text)

    return number


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
    found = measure(flat, rows["references"], options.output.parent, options.java, (), rows["clip_ids"])
    metrics = {key: found.metrics[key] for key in columns if key in found.metrics}
    by_models, without = model_metrics(paths, rows["clip_ids"], sum(map(len, without_model.values())))
    metrics |= by_models
    if vocabulary is not None:
        words = word_metrics(flat, rows["labels"], vocabulary)
        metrics |= {key: words[key] for key in WORD_COLUMNS}
    number = len(rows["clip_ids"])
    weights = bootstrap_weights(number, options.samples, options.seed)
    rng = np.random.default_rng([options.seed, 1])  # a stream of its own, so that it does not change the clips drawn
    draws = {name: rng.integers(len(group), size=(options.samples, len(group))) for name, group in runs.items()}
    lines = make_lines({name: len(group) for name, group in systems.items()}, draws, metrics, weights, against, of)
    several = any(len(group) > 1 for group in runs.values())
    over = "clips and, in rows of several training runs, over these too" if several else "clips, not over training runs"
    notes = [
        f"clips: N = {number}",
        *recorded(paths),
        seeds(paths),
        f"brackets: 95% percentile bootstrap intervals over {over}; {options.samples} samples, seed {options.seed}; "
        "resampled corpora keep the document frequencies of all clips in CIDEr-D and SPIDEr",
        f"tokens by {TOKENIZERS[found.tokenizer]}",
    ]
    if several:
        notes.insert(
            -1,
            "a row of several training runs shows their mean, and in parentheses the lowest and the highest of them; "
            "resampling K runs shows (K-1)/K of the variance between them, so with few the intervals are too narrow",
        )
    notes += without
    notes += lacking({key: reason for key, reason in found.not_computed.items() if key in columns})
    return Measured(lines, metrics, weights, notes)


def make_lines(
    systems: Mapping[str, int],
    draws: Mapping[str, np.ndarray],
    metrics: Mapping[str, Metric],
    weights: np.ndarray,
    against: str | None = None,
    of: str | None = None,
) -> list[Line]:
    """One line for each row: the mean score of its systems, with an interval and the scores of its training runs.

    In each bootstrap sample the clips are drawn once for all rows. A row of training runs also draws its runs, each
    row for itself (two levels); a row of shuffles or guesses averages all of its systems in every sample.

    Args:
        systems: for each row the number of its systems, in the order of the metrics' R systems.
        draws: (B, K) indices of training runs, drawn with replacement, for the rows whose K systems are training runs
            of one method.
        metrics: with statistics (R, N, S).
        weights: (B, N) of `bootstrap_weights`.
        against: the row that differences are taken from, paired over the clips of each sample.
        of: the row whose SPIDEr every other SPIDEr is divided by, paired likewise.
    """
    ends = np.cumsum(list(systems.values()))
    parts = {name: slice(end - number, end) for (name, number), end in zip(systems.items(), ends, strict=True)}
    several = any(draw.shape[1] > 1 for draw in draws.values())
    lines: dict[str, Line] = {
        name: {"row": name, "N": str(weights.shape[1]), "trainings": str(number) if name in draws else "-"}
        for name, number in systems.items()
    }
    found: dict[tuple[str, str], np.ndarray] = {}  # by metric and row, (1 + B,): the score, then those of the samples
    for key, metric in metrics.items():
        scores, samples = metric.scores, metric.resampled(weights)  # (R,), (B, R)
        for name, part in parts.items():
            drawn = np.take_along_axis(samples[:, part], draws[name], 1) if name in draws else samples[:, part]
            found[key, name] = np.concatenate([[scores[part].mean()], drawn.mean(1)])
            lines[name][key] = _interval(found[key, name])
    if of is not None and "spider" in metrics and found["spider", of][0] > 0:
        whole = found["spider", of]
        for name, line in lines.items():
            share = np.divide(found["spider", name], whole, out=np.full_like(whole, np.nan), where=whole > 0)
            line["spider_share"] = _interval(share) if name != of else "-"
    for key in (key for key in COMPARED if key in metrics and several):
        for name, line in lines.items():
            values = metrics[key].scores[parts[name]].tolist()
            line[f"{key}_trainings"] = Spread(tuple(values)) if name in draws else "-"
    for key in (key for key in COMPARED if key in metrics and against):
        for name, line in lines.items():
            line[f"{key}_difference"] = (
                _interval(found[key, name] - found[key, str(against)]) if name != against else "-"
            )
    return list(lines.values())


def _interval(scores: np.ndarray) -> Estimate:
    """A score and those of the bootstrap samples, (1 + B,), as a cell."""
    return estimate(float(scores[0]), scores[1:])


def titles(against: str | None, of: str | None = None) -> dict[str, str]:
    """The headings of the columns."""
    found = TITLES | {"trainings": "training runs", "spider_share": f"share of {of}'s SPIDEr"}
    for key in COMPARED:
        found[f"{key}_trainings"] = f"{TITLES[key]} of the training runs"
        found[f"{key}_difference"] = f"{TITLES[key]} minus {against}'s"
    return found
