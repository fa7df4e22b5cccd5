"""python -m reports plot: scores of runs against a number that differs between them (DALI, Figure 5)."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from earshot.drawing import IMAGE, OTHER, drawn
from earshot.errors import require_apart
from evaluation.metric import Metric
from evaluation.scores import TITLES
from reports.page import add_page, page_files, write_page
from reports.rows import add_rows, files_read, numbers_of, parse_rows, read_runs
from reports.table import add_measurement, measure_rows, titles

METRICS = ("bleu_4", "meteor", "rouge_l", "cider_d", "spice", "spider")  # those of Figure 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_rows(parser, "NUMBER=RUN[,RUN...]", "a number")
    parser.add_argument("--label", default="number", help="what the number is (%(default)s)")
    add_measurement(parser)
    add_page(parser, "runs/scores.png", "PNG file; an SVG, Markdown and a CSV go beside it")


def run(options: argparse.Namespace) -> None:
    """Measure all runs at once; draw the figure, and write the table."""
    paths = parse_rows(options.runs)
    require_apart(page_files(options.output), [*files_read(paths), options.vocabulary])
    order = sorted(zip(numbers_of(list(paths)), paths))
    paths = {name: paths[name] for _, name in order}
    found = measure_rows(options, METRICS, paths, read_runs(paths), {})
    figure = options.output.with_suffix(".png")
    runs = {number: len(paths[name]) for number, name in order}
    draw(found.metrics, runs, options.label, figure.with_suffix(""))
    headings = titles(None) | {"row": options.label}
    notes = ["in the figure a dot is one training run, the line the mean of those of a number"]
    write_page(options, found.lines, headings, notes, found.measured, figure)


def draw(metrics: Mapping[str, Metric], runs: Mapping[float, int], label: str, path: Path) -> None:
    """A panel for each metric: a dot for each run, a line through the means of each number.

    Args:
        metrics: of all runs, in the order of the numbers.
        runs: how many runs each number has.
        label: what the numbers are.
        path: of the figure, without its ending.
    """
    numbers, most = list(runs), max(runs.values())
    ends = np.cumsum(list(runs.values()))[:-1]
    clips = next(iter(metrics.values())).statistics.shape[1]
    key = "cider_d" if "cider_d" in metrics else next(iter(metrics))
    means = [values.mean() for values in np.split(metrics[key].scores, ends)]
    best = int(np.argmax(means))
    title = (
        f"Scores by {label}: best {TITLES[key]} {means[best]:.2f} at {numbers[best]:g}\n"
        f"N = {clips} clips, {most} training run{'s' if most > 1 else ''} each"
    )
    least = min((abs(number) for number in numbers if number), default=1)
    with drawn(path, title, max(4.2, 2.6 * len(metrics)), 2.9, columns=len(metrics)) as axes:
        for panel, (key, metric) in zip(axes[0], metrics.items()):
            groups: Sequence[np.ndarray] = np.split(metric.scores, ends)
            for number, values in zip(numbers, groups):
                panel.plot([number] * len(values), values, "o", color=OTHER, markersize=4, label="training run")
            panel.plot(numbers, [values.mean() for values in groups], "-s", color=IMAGE, markersize=4, label="mean")
            panel.set(title=TITLES[key], xlabel=label)
            if numbers[0] > 0:
                panel.set_xscale("log")
            else:  # for which a logarithmic axis has no place
                panel.set_xscale("symlog", linthresh=least)
            panel.set_xticks(numbers, [f"{number:g}" for number in numbers], rotation=45 if len(numbers) > 5 else 0)
            panel.minorticks_off()
            panel.grid(axis="y")
            panel.margins(y=0.1)  # dots stay whole
            panel.set_ylim(bottom=0)
        axes[0, 0].set_ylabel("score")
        names = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels())))
        axes[0, 0].legend(names.values(), names, loc="lower left")
