"""python -m reports plot: scores of runs against a number that differs between them (DALI, Figure 5)."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from earshot.atomic import atomic_path
from earshot.errors import InputError
from evaluation.scores import TITLES
from evaluation.scores_file import read_score
from reports.origin import seeds
from reports.page import add_page, write_page
from reports.rows import add_rows, parse_rows, read_scores
from reports.table import Line

METRICS = ("cider_d", "rouge_l", "bleu_4", "verb_recall", "visual_share")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_rows(parser, "NUMBER=RUN[,RUN...]", "a number")
    parser.add_argument("--label", default="number", help="what the number is (%(default)s)")
    add_page(parser, "runs/scores.png", "PNG file; Markdown and a CSV go beside it")


def run(options: argparse.Namespace) -> None:
    """Draw the figure, and write the means of each number's runs as a table."""
    paths = parse_rows(options.runs)
    try:
        paths = dict(sorted(paths.items(), key=lambda row: float(row[0])))
    except ValueError:
        raise InputError(f"expected NUMBER=RUN, found the numbers {', '.join(paths)}; correct them") from None
    files = [path for group in paths.values() for path in group]
    keys = [key for key in METRICS if all(read_score(path, key) is not None for path in files)]
    if not keys:
        raise InputError(f"expected a score that all runs have, found none of {', '.join(METRICS)}; test them again")
    scores = {key: read_scores(paths, key, "test it again") for key in keys}
    figure = options.output.with_suffix(".png")
    draw(scores, options.label, figure)
    lines: list[Line] = [
        {str(options.label): f"{float(name):g}", **{key: f"{fmean(scores[key][name]):.3f}" for key in keys}}
        for name in paths
    ]
    clips = {f"{number:g}" for path in files if (number := read_score(path, "num_clips")) is not None}
    measured = [f"clips: N = {', '.join(sorted(clips)) or 'unknown'}", seeds(paths)]
    measured.append("means over the runs of a number, without intervals; dots in the figure are single runs")
    write_page(options, lines, TITLES, [], measured, figure)


def draw(scores: Mapping[str, Mapping[str, Sequence[float]]], label: str, path: Path) -> None:
    """A panel for each metric: a dot for each run, a line through the means of each number."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(scores), 3), layout="constrained")
    for panel, (key, rows) in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores.items()):
        numbers = [float(name) for name in rows]
        for number, values in zip(numbers, rows.values()):
            panel.plot([number] * len(values), values, "o", color="0.6")
        panel.plot(numbers, [fmean(values) for values in rows.values()], "k-")
        panel.set(xscale="log", xticks=numbers, xticklabels=[f"{number:g}" for number in numbers], title=TITLES[key])
        panel.minorticks_off()
        panel.set_xlabel(label)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
