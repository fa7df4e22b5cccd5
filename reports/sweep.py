"""python -m reports sweep: captions guided with several lambda_2 in a table and a figure (Table 2)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earshot.drawing import AUDIO, IMAGE, drawn
from earshot.errors import InputError, require_apart
from evaluation.bootstrap import Estimate, estimate
from evaluation.metric import Metric
from evaluation.scores import TITLES
from reports.page import add_page, page_files, write_page
from reports.published import beside, paper_titles, published
from reports.rows import METAVAR, add_rows, files_read, numbers_of, parse_rows, read_runs, read_scores
from reports.table import Cell, Spread, add_measurement, measure_rows, titles

COLUMNS = ("bleu_1", "meteor", "rouge_l", "cider_d")  # those of Table 2
TO_GET_A = "run test with a --model.classifier"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_rows(parser, "LAMBDA_2=RUN[,RUN...]", "a value of lambda_2 (with several classifiers, in one order)")
    parser.add_argument("--beside", nargs="+", default=[], metavar=METAVAR, help="rows of other methods")
    add_measurement(parser)
    add_page(parser, "runs/audibility.md", "Markdown file; a CSV, a PNG and an SVG go beside it")


def run(options: argparse.Namespace) -> None:
    """Read, measure all runs at once, write table and figure."""
    from scipy.stats import spearmanr

    paths = parse_rows(options.runs)
    values = read_values(list(paths))
    order = np.argsort(values).tolist()
    paths = {list(paths)[i]: list(paths.values())[i] for i in order}
    values = [values[i] for i in order]
    baseline = list(paths)[values.index(0.0)]
    paths |= parse_rows(options.beside)
    require_apart(page_files(options.output), [*files_read(paths), options.vocabulary])
    audibility = read_scores(paths, "audibility", TO_GET_A)
    swept = list(audibility.values())[: len(values)]
    found = measure_rows(options, COLUMNS, paths, read_runs(paths), {}, against=baseline)
    for line, each in zip(found.lines, audibility.values()):
        line["audibility"] = Spread(tuple(each))
    means = [float(np.mean(each)) for each in swept]
    notes = [
        f"Spearman's rank correlation of the mean A with lambda_2: {spearmanr(values, means).statistic:.3f}",
        *by_training(values, swept, found.metrics["cider_d"], found.weights),
    ]
    figure = options.output.with_suffix(".png")
    cider_d = [line["cider_d"] for line in found.lines[: len(values)]]
    draw(values, swept, cider_d, int(found.weights.shape[1]), figure.with_suffix(""))
    theirs = {name: row for name, row in published("audibility_guidance", "audiocaps").items() if name in paths}
    headings = titles(baseline) | {"row": "lambda_2"} | paper_titles(theirs)
    write_page(options, beside(found.lines, theirs), headings, notes, found.measured, figure)


def read_values(names: Sequence[str]) -> list[float]:
    """The values of lambda_2 in the names of the rows.

    Raises:
        InputError: other names than `numbers_of` takes, or none that is 0.
    """
    values = numbers_of(names)
    if 0.0 not in values or len(values) < 2:
        raise InputError(
            f"expected a run with lambda_2 = 0 and another to compare with it, found {', '.join(names)}; add it"
        )
    return values


def by_training(
    values: list[float], audibility: Sequence[Sequence[float]], cider_d: Metric, weights: np.ndarray
) -> list[str]:
    """For each training run alone: how A changes with lambda_2, and the differences of CIDEr-D from lambda_2 = 0."""
    counts = [len(each) for each in audibility]
    if len(set(counts)) > 1:
        return ["the values of lambda_2 have different numbers of training runs, so nothing is compared run by run"]
    from scipy.stats import spearmanr

    rises = [float(spearmanr(values, each).statistic) for each in zip(*audibility)]
    gains = [max(each) - each[values.index(0.0)] for each in zip(*audibility)]
    first = (
        f"Spearman's rank correlation of A with lambda_2, run by run: {', '.join(f'{x:.3f}' for x in rises)};"
        f" A rises from 0 by at most {', '.join(f'{x:.3f}' for x in gains)}"
    )
    scores, samples = cider_d.scores, cider_d.resampled(weights)  # (R,), (B, R)
    runs = np.arange(sum(counts)).reshape(len(values), -1)  # the systems of each lambda_2, in the order of R
    notes = [first]
    for value, own in zip(values, runs):
        if value:
            pairs = list(zip(own, runs[values.index(0.0)]))
            gaps = [estimate(float(scores[a] - scores[b]), samples[:, a] - samples[:, b]) for a, b in pairs]
            notes.append(f"{TITLES['cider_d']}, {value:g} minus 0, run by run: {', '.join(map(str, gaps))}")
    return notes


def draw(
    values: list[float], audibility: Sequence[Sequence[float]], cider_d: list[Cell], clips: int, path: Path
) -> None:
    """Against lambda_2: A of each training run and its mean, CIDEr-D with its interval."""
    means = [float(np.mean(each)) for each in audibility]
    found = [cell for cell in cider_d if isinstance(cell, Estimate)]
    best = max(range(len(found)), key=lambda place: found[place].value)
    classifiers = f"{len(audibility[0])} classifier{'s' if len(audibility[0]) > 1 else ''}"
    title = (
        f"Audibility guidance: best CIDEr-D {found[best].value:.2f} at λ₂ = {values[best]:g}, {found[0].value:.2f} at "
        f"{values[0]:g}\nN = {clips} clips, {classifiers}"
    )
    with drawn(path, title, 6.2, 3.4) as axes:
        left = axes[0, 0]
        right = left.twinx()
        for value, each in zip(values, audibility):
            left.plot([value] * len(each), each, "o", color=IMAGE, alpha=0.4, markersize=4)
        left.plot(values, means, "-o", color=IMAGE, markersize=5, label="A")
        # values are denser near 0, which a logarithmic axis cannot show
        left.set_xscale("symlog", linthresh=0.015)
        left.set_xticks(values, [f"{value:g}" for value in values])
        left.minorticks_off()
        left.grid(axis="y")
        left.set(xlabel="$\\lambda_2$, weight of audibility", ylim=(0, 1.02))
        left.set_ylabel("A, probability that a caption is audible", color=IMAGE)
        right.plot(values, [cell.value for cell in found], "--s", color=AUDIO, markersize=5, label="CIDEr-D")
        right.fill_between(
            values, [x.low for x in found], [x.high for x in found], color=AUDIO, alpha=0.2, linewidth=0,
            label="95% interval",
        )  # fmt: skip
        right.set_ylabel("CIDEr-D", color=AUDIO)
        right.set_ylim(bottom=0)
        right.spines["right"].set_visible(True)
        handles = [*left.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
        left.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=3)
