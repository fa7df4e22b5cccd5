"""python -m reports plot: scores of runs against a number that differs between them (DALI, Figure 5)."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from earshot.drawing import IMAGE, OTHER, drawn
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
    add_page(parser, "runs/scores.png", "PNG file; an SVG, Markdown and a CSV go beside it")


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
    lines: list[Line] = [
        {str(options.label): f"{float(name):g}", **{key: f"{fmean(scores[key][name]):.3f}" for key in keys}}
        for name in paths
    ]
    clips = {f"{number:g}" for path in files if (number := read_score(path, "num_clips")) is not None}
    counted = ", ".join(sorted(clips)) or "unknown"
    draw(scores, options.label, counted, figure.with_suffix(""))
    measured = [f"clips: N = {counted}", seeds(paths)]
    measured.append("means over the runs of a number, without intervals; dots in the figure are single runs")
    write_page(options, lines, TITLES, [], measured, figure)


def draw(scores: Mapping[str, Mapping[str, Sequence[float]]], label: str, clips: str, path: Path) -> None:
    """A panel for each metric: a dot for each run, a line through the means of each number."""
    runs = max(len(values) for rows in scores.values() for values in rows.values())
    title = f"Scores by {label}, N = {clips} clips, {runs} training run{'s' if runs > 1 else ''} each"
    with drawn(path, title, max(4.2, 2.6 * len(scores)), 2.9, columns=len(scores)) as axes:
        for panel, (key, rows) in zip(axes[0], scores.items()):
            numbers = [float(name) for name in rows]
            for number, values in zip(numbers, rows.values()):
                panel.plot([number] * len(values), values, "o", color=OTHER, markersize=4)
            panel.plot(numbers, [fmean(values) for values in rows.values()], "-s", color=IMAGE, markersize=4)
            panel.set(xscale="log", title=TITLES[key], xlabel=label)
            panel.set_xticks(numbers, [f"{number:g}" for number in numbers], rotation=45 if len(numbers) > 5 else 0)
            panel.minorticks_off()
            panel.grid(axis="y")
            panel.set_ylim(bottom=0)
