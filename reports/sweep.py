"""python -m reports.sweep: captions guided with several lambda_2 in a table and a figure (Table 2)."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr

from earshot.errors import InputError, one_line_errors
from evaluation.bootstrap import Estimate, bootstrap_weights, estimate, training_draws
from evaluation.caption_metrics import Metric, measure
from evaluation.scores import FILE_NAME, TITLES, TOKENIZERS
from evaluation.word_scores import read_vocabulary, word_metrics
from reports.compare import interval_notes, read_rows, read_runs
from reports.table import Cell, Line, Spread, make_report, show, titles, write_report

COLUMNS = ("bleu_1", "meteor", "rouge_l", "cider_d")  # of Table 2
WORD_COLUMNS = ("precision", "recall", "verb_recall", "visual_share")
PAPER = (
    "the paper's lambda_2 = 0, 0.015, 0.03, 0.06, 0.15, 0.5 on AudioCaps: A 60.9, 62.8, 69.8, 85.6, 95.8, 99.0%, "
    "CIDEr 7.9, 9.2, 8.9, 8.5, 8.3, 7.2%"
)


def read_audibility(path: Path) -> float:
    """Metric A of the run that wrote a captions file.

    Raises:
        InputError: the run has none.
    """
    scores = path.with_name(FILE_NAME)
    value = json.loads(scores.read_text()).get("audibility") if scores.is_file() else None
    if value is None:
        raise InputError(
            f"expected metric A in {scores}, found none; run test with callbacks.audibility_score and a "
            "--model.classifier"
        )
    return float(value)


def read_values(names: Sequence[str]) -> list[float]:
    """The values of lambda_2 that the rows are named by.

    Raises:
        InputError: a name that is no number, or none that is 0.
    """
    try:
        values = [float(name) for name in names]
    except ValueError:
        raise InputError(
            f"expected numbers as in 0.06=runs/guided_0.06, found {', '.join(names)}; correct it"
        ) from None
    if len(set(values)) < len(values) or not np.isfinite(values).all():
        raise InputError(f"expected different, finite numbers, found {', '.join(names)}; correct them")
    if 0.0 not in values or len(values) < 2:
        raise InputError(
            f"expected a run with lambda_2 = 0 and another to compare with it, found {', '.join(names)}; add it"
        )
    return values


def by_training(
    values: list[float], audibility: list[tuple[float, ...]], cider_d: Metric, weights: np.ndarray
) -> list[str]:
    """Training by training: how A goes with lambda_2, and for each lambda_2 the differences of CIDEr-D from 0."""
    counts = [len(each) for each in audibility]
    if len(set(counts)) > 1:
        return ["not every lambda_2 has as many trainings: nothing is compared training by training"]
    rises = [float(spearmanr(values, each).statistic) for each in zip(*audibility)]
    gains = [max(each) - each[values.index(0.0)] for each in zip(*audibility)]
    first = (
        f"Spearman's rank correlation of A with lambda_2, training by training: {', '.join(f'{x:.3f}' for x in rises)};"
        f" A rises from 0 by at most {', '.join(f'{x:.3f}' for x in gains)}"
    )
    starts = np.cumsum([0, *counts])
    samples, zero = cider_d.resampled(weights), starts[values.index(0.0)]
    notes = [first]
    for value, start in zip(values, starts):
        if value:
            gaps = [
                estimate(
                    float(cider_d.scores[start + k] - cider_d.scores[zero + k]),
                    samples[:, start + k] - samples[:, zero + k],
                )
                for k in range(counts[0])
            ]
            notes.append(f"{TITLES['cider_d']}, {value:g} minus 0, training by training: {', '.join(map(str, gaps))}")
    return notes


def draw(values: list[float], audibility: list[tuple[float, ...]], cider_d: list[Cell], path: Path) -> None:
    """A, each training and the mean, and CIDEr-D, with its interval, against lambda_2."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    for value, each in zip(values, audibility):
        left.plot([value] * len(each), each, "o", color="tab:blue", alpha=0.4)
    left.plot(values, [float(np.mean(each)) for each in audibility], "-", color="tab:blue")
    # the grid is denser near 0, which a logarithm would not show
    left.set_xscale("symlog", linthresh=0.015)
    left.set_xticks(values, [f"{value:g}" for value in values])
    left.minorticks_off()
    left.set(xlabel="$\\lambda_2$", ylim=(0, 1.02))
    left.set_ylabel("A", color="tab:blue")
    found = [cell for cell in cider_d if isinstance(cell, Estimate)]
    right.plot(values, [cell.value for cell in found], "s-", color="tab:orange")
    right.fill_between(values, [x.low for x in found], [x.high for x in found], color="tab:orange", alpha=0.2)
    right.set_ylabel("CIDEr-D", color="tab:orange")
    right.set_ylim(bottom=0)
    figure.savefig(path, dpi=120)


def sweep(options: argparse.Namespace) -> None:
    """Read, measure all runs at once, write table and figure."""
    paths = read_rows(options.runs)
    values = read_values(list(paths))
    order = np.argsort(values).tolist()
    paths = {list(paths)[i]: list(paths.values())[i] for i in order}
    values = [values[i] for i in order]
    swept = len(values)
    paths |= read_rows(options.beside)
    audibility = [tuple(read_audibility(path) for path in each) for each in paths.values()]
    runs = read_runs(paths)
    rows = next(iter(runs.values()))[0]
    flat = [run["captions"] for group in runs.values() for run in group]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    measured = measure(flat, rows["references"], options.output.parent, options.java)
    metrics = {key: measured.metrics[key] for key in COLUMNS if key in measured.metrics}
    if options.vocabulary is not None:
        words = word_metrics(flat, rows["labels"], read_vocabulary(options.vocabulary))
        metrics |= {key: words[key] for key in WORD_COLUMNS}
    weights = bootstrap_weights(len(rows["clip_ids"]), options.samples, options.seed)
    rng = np.random.default_rng([options.seed, 1])
    counts = {name: len(group) for name, group in runs.items()}
    draws = {name: training_draws(number, options.samples, rng) for name, number in counts.items()}
    baseline = list(paths)[values.index(0.0)]
    lines: list[Line] = make_report(counts, draws, baseline, metrics, weights)
    for line, each in zip(lines, audibility):
        line["audibility"] = Spread(each)
    means = [float(np.mean(each)) for each in audibility]
    notes = [
        f"Spearman's rank correlation of the mean A with lambda_2: {spearmanr(values, means[:swept]).statistic:.3f}",
        *by_training(values, audibility[:swept], metrics["cider_d"], weights),
        *interval_notes(runs),
        f"tokens by {TOKENIZERS[measured.tokenizer]}",
        PAPER,
    ]
    headings = titles(baseline) | {"row": "lambda_2"}
    write_report(options.output, lines, notes, headings)
    figure = options.output.with_suffix(".png")
    draw(values, audibility[:swept], [line["cider_d"] for line in lines[:swept]], figure)
    show(lines, notes, headings)
    Console().print(f"written to {options.output}, its .csv and {figure}", soft_wrap=True, markup=False)


def main(args: Sequence[str] | None = None) -> None:
    """Table and figure of captions of the same clips, guided with several lambda_2.

    Several runs of a lambda_2 are trainings of the classifier, in the same order for each.
    """
    parser = argparse.ArgumentParser(prog="python -m reports.sweep", description=main.__doc__)
    add = parser.add_argument
    add("runs", nargs="+", metavar="LAMBDA_2=RUN[,RUN...]", help="a value and its run folders, one a training")
    add("--beside", nargs="+", default=[], metavar="ROW=RUN[,RUN...]", help="rows of other methods")
    add("--vocabulary", type=Path, help="JSON file of event and visual words, for scores by words")
    add("--samples", type=int, default=2000, help="bootstrap samples (%(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    add("--no-java", dest="java", action="store_false", help="leave METEOR and PTB out")
    add("--output", type=Path, default=Path("runs/audibility.md"), help="markdown; CSV and PNG go beside (%(default)s)")
    options = parser.parse_args(args)
    with one_line_errors():
        sweep(options)


if __name__ == "__main__":
    main()
