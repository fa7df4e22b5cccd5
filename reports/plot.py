"""python -m reports.plot: scores of runs against a number that differs between them (DALI, Figure 5)."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the line above comes first)

from earshot.errors import InputError, one_line_errors  # noqa: E402
from evaluation.captions_file import captions_path  # noqa: E402
from evaluation.scores import TITLES  # noqa: E402

METRICS = ("cider_d", "rouge_l", "bleu_4", "verb_recall", "visual_share")


def read_points(runs: Sequence[str]) -> dict[float, list[dict[str, float | None]]]:
    """The scores of NUMBER=RUN,RUN... arguments: for each number, those of its runs.

    Raises:
        InputError: an argument of another form, or a run without scores.
    """
    points: dict[float, list[dict[str, float | None]]] = {}
    for argument in runs:
        number, _, paths = argument.partition("=")
        try:
            points[float(number)] = [
                json.loads(captions_path(Path(path)).with_name("scores.json").read_text()) for path in paths.split(",")
            ]
        except (ValueError, OSError) as error:
            raise InputError(
                f"expected NUMBER=RUN,RUN of tested runs, found {argument!r} ({error}); test them"
            ) from None
    return dict(sorted(points.items()))


def plot(points: dict[float, list[dict[str, float | None]]], label: str, path: Path) -> list[list[str]]:
    """Draw a panel for each metric: a dot for each run, a line through their means.

    Returns:
        The means, a line for each number, the head first.
    """
    metrics = [key for key in METRICS if all(run.get(key) is not None for runs in points.values() for run in runs)]
    figure, panels = plt.subplots(1, len(metrics), figsize=(3 * len(metrics), 3), squeeze=False, layout="constrained")
    lines = [[label, *(TITLES[key] for key in metrics)], *([f"{number:g}"] for number in points)]
    for panel, key in zip(panels[0], metrics):
        values = [[float(run[key] or 0) for run in runs] for runs in points.values()]
        means = [sum(each) / len(each) for each in values]
        for number, each in zip(points, values):
            panel.plot([number] * len(each), each, "o", color="0.6")
        panel.plot(list(points), means, "k-")
        panel.set(
            xscale="log", xticks=list(points), xticklabels=[f"{number:g}" for number in points], title=TITLES[key]
        )
        panel.minorticks_off()
        panel.set_xlabel(label)
        for line, mean in zip(lines[1:], means):
            line.append(f"{mean:.3f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return lines


def main(args: Sequence[str] | None = None) -> None:
    """Plot the scores of tested runs against a number, several runs (seeds) a number, and print their means."""
    parser = argparse.ArgumentParser(prog="python -m reports.plot", description=main.__doc__)
    parser.add_argument("runs", nargs="+", metavar="NUMBER=RUN", help="a number and run folders, separated by commas")
    parser.add_argument("--label", default="", help="of the number")
    parser.add_argument("--output", type=Path, default=Path("runs/scores.png"), help="(%(default)s)")
    options = parser.parse_args(args)
    with one_line_errors():
        lines = plot(read_points(options.runs), options.label, options.output)
        text = [f"| {' | '.join(line)} |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:])]
        options.output.with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")
        print("\n".join(text))
        print(f"written to {options.output} and {options.output.with_suffix('.md')}")


if __name__ == "__main__":
    main()
