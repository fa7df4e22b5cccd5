"""The lines of a report of several systems on the same clips, as a table in markdown, CSV and the terminal."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.bootstrap import Estimate, estimate
from evaluation.caption_metrics import Metric
from evaluation.scores import TITLES

COMPARED = ("cider_d", "verb_recall")


@dataclass(frozen=True)
class Spread:
    """A figure of each training, one or more."""

    values: tuple[float, ...]

    def _shown(self) -> tuple[str, str]:
        mean, *ends = (
            f"{number:.3f}" if number == 0 or abs(number) >= 0.01 else f"{number:.2g}"
            for number in (float(np.mean(self.values)), min(self.values), max(self.values))
        )
        return mean, " to ".join(ends) if len(self.values) > 1 else ""

    def __str__(self) -> str:
        mean, ends = self._shown()
        return f"{mean} ({ends})" if ends else mean

    def narrow(self) -> str:
        """On two lines, the second of which may be broken at its spaces."""
        return "\n".join(filter(None, self._shown()))


Cell = Estimate | Spread | str
Line = dict[str, Cell]


def make_report(
    systems: Mapping[str, int],
    draws: Mapping[str, np.ndarray],
    against: str | None,
    metrics: Mapping[str, Metric],
    weights: np.ndarray,
) -> list[Line]:
    """One line for each row: the mean score of its systems, with an interval and what its trainings gave.

    In each bootstrap sample the clips are drawn once for all rows. A row of trainings also draws its trainings,
    each row for itself (two levels); a row of shuffles or guesses averages all of its systems in every sample.

    Args:
        systems: for each row the number of its systems, in the order of the metrics' R systems.
        draws: (B, K) of `training_draws`, for the rows whose K systems are trainings of one method.
        against: the row that differences are taken from, paired over the clips of each sample.
        metrics: statistics (R, N, S).
        weights: (B, N) of `bootstrap_weights`.
    """
    ends = np.cumsum(list(systems.values()))
    parts = {name: slice(end - number, end) for (name, number), end in zip(systems.items(), ends, strict=True)}
    values = {key: metric.scores for key, metric in metrics.items()}  # (R,)
    samples = {key: metric.resampled(weights) for key, metric in metrics.items()}  # (B, R)

    def resampled(key: str, name: str) -> np.ndarray:
        found = samples[key][:, parts[name]]  # (B, K)
        return (np.take_along_axis(found, draws[name], 1) if name in draws else found).mean(1)  # (B,)

    compared = [key for key in COMPARED if key in metrics]
    several = any(draw.shape[1] > 1 for draw in draws.values())
    lines: list[Line] = []
    for name, part in parts.items():
        trainings = str(systems[name]) if name in draws else "-"
        line: Line = {"row": name, "N": str(weights.shape[1]), "trainings": trainings}
        for key in metrics:
            line[key] = estimate(float(values[key][part].mean()), resampled(key, name))
        if several:
            for key in compared:
                line[f"{key}_trainings"] = Spread(tuple(values[key][part].tolist())) if name in draws else "-"
        if against is not None:
            for key in compared:
                gap = float(values[key][part].mean() - values[key][parts[against]].mean())
                paired = resampled(key, name) - resampled(key, against)
                line[f"{key}_difference"] = estimate(gap, paired) if name != against else "-"
        lines.append(line)
    return lines


def titles(against: str | None) -> dict[str, str]:
    """The headings of the columns."""
    found = dict(TITLES)
    for key in COMPARED:
        found[f"{key}_trainings"] = f"{TITLES[key]} of the trainings"
        found[f"{key}_difference"] = f"{TITLES[key]} minus {against}'s"
    return found


def csv_cells(key: str, cell: Cell) -> dict[str, str]:
    """A cell's columns in the CSV; none where there is nothing."""
    if isinstance(cell, Estimate):
        return {key: repr(cell.value), f"{key}_low": repr(cell.low), f"{key}_high": repr(cell.high)}
    if isinstance(cell, Spread):
        ends = {f"{key}_lowest": repr(min(cell.values)), f"{key}_highest": repr(max(cell.values))}
        return {key: repr(float(np.mean(cell.values))), **ends}
    return {} if cell == "-" else {key: cell}


def write_report(path: Path, lines: list[Line], notes: list[str], headings: Mapping[str, str]) -> None:
    """Write the table as markdown, and as CSV beside it with the ends of intervals in columns of their own."""
    table = [
        f"| {' | '.join(headings.get(key, key) for key in lines[0])} |",
        f"|{'---|' * len(lines[0])}",
    ]
    table += [f"| {' | '.join(map(str, line.values()))} |" for line in lines]
    path.write_text("\n".join([*table, "", *(f"- {note}" for note in notes)]) + "\n", encoding="utf-8")
    columns = {column: None for key in lines[0] for line in lines for column in csv_cells(key, line[key])}
    with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for line in lines:
            writer.writerow({column: text for key in line for column, text in csv_cells(key, line[key]).items()})


def show(lines: list[Line], notes: list[str], headings: Mapping[str, str]) -> None:
    """Print the table turned on its side, so that it fits a terminal."""
    table = Table(caption=escape("\n".join(notes)), caption_justify="left")
    table.add_column("")
    for line in lines:
        table.add_column(escape(str(line["row"])), justify="right", overflow="fold")
    for key in list(lines[0])[1:]:
        cells = (line[key] for line in lines)
        shown = (cell if isinstance(cell, str) else cell.narrow() for cell in cells)
        table.add_row(escape(headings.get(key, key)), *shown)
    Console().print(table)
