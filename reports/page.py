"""A report as a page: one table in Markdown, as CSV beside it and on the terminal, with what was measured and how."""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from earshot.atomic import atomic_path, write_text
from earshot.errors import InputError
from evaluation.bootstrap import Estimate
from reports.origin import HEADING, origin
from reports.table import NOT_GIVEN, Cell, Line, Spread


def add_page(parser: argparse.ArgumentParser, output: str, what: str = "Markdown file; a CSV goes beside it") -> None:
    """The options of a page."""
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--note", action="append", default=[], help="paragraph above the table; repeatable")
    parser.add_argument("--output", type=output_file, default=Path(output), help=f"{what} (%(default)s)")


def output_file(text: str) -> Path:
    """The type of --output: refuses a folder before anything is measured, also in the place of a file beside it."""
    for path in (
        Path(text),
        *(Path(text).with_suffix(suffix) for suffix in (".md", ".csv", ".png") if Path(text).name),
    ):
        if path.is_dir():
            raise InputError(f"expected a file as --output, found the folder {path}; name a file in it")
    return Path(text)


def write_page(
    options: argparse.Namespace,
    lines: Sequence[Line],
    headings: Mapping[str, str],
    notes: Sequence[str],
    measured: Sequence[str],
    figure: Path | None = None,
) -> None:
    """Write and print a page.

    Args:
        options: of `add_page`, and the command.
        lines: the table; its columns are the keys of the first line.
        headings: titles of columns whose key is not their title.
        notes: on the rows and columns, below the table.
        measured: how the numbers were measured, beside the command, the versions and the date.
        figure: a picture beside the page, to be shown on it.
    """
    markdown, values = (options.output.with_suffix(suffix) for suffix in (".md", ".csv"))
    grid = [[headings.get(key, key) for key in lines[0]], *([str(cell) for cell in line.values()] for line in lines)]
    rows = [" | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) for row in grid]
    table = "\n".join(f"| {row} |" for row in rows).replace("\n", f"\n|{'---|' * len(grid[0])}\n", 1)
    text = [f"# {options.title}"] if options.title else []
    text += [*options.note, table]
    text += [f"![{options.title or figure.stem}]({figure.name})"] if figure else []
    text += ["\n".join(f"- {note}" for note in notes)] if notes else []
    text += [HEADING, "\n".join(f"- {entry}" for entry in (*measured, *origin(options.command)))]
    write_text(markdown, "\n\n".join(text) + "\n")
    columns = {column: None for key in lines[0] for line in lines for column in csv_cells(key, line[key])}
    with atomic_path(values) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for line in lines:
            writer.writerow({name: text for key, cell in line.items() for name, text in csv_cells(key, cell).items()})
    if len(grid[0]) > len(grid):  # turned by 90 degrees, so that many columns fit a terminal
        grid = list(map(list, zip(*grid)))
    shown = Table(*(Column(escape(title), overflow="fold") for title in grid[0]))
    for row in grid[1:]:
        shown.add_row(*map(escape, row))
    console = Console()
    console.print(shown)
    for note in (*notes, *measured, f"written to {markdown} and {values}"):
        console.print(note, soft_wrap=True, markup=False)


def csv_cells(key: str, cell: Cell) -> dict[str, str]:
    """A cell's columns in the CSV, the ends of an interval in columns of their own; none where there is nothing."""
    if isinstance(cell, Estimate):
        return {key: repr(cell.value), f"{key}_low": repr(cell.low), f"{key}_high": repr(cell.high)}
    if isinstance(cell, Spread):
        ends = {f"{key}_lowest": repr(min(cell.values)), f"{key}_highest": repr(max(cell.values))}
        return {key: repr(float(np.mean(cell.values))), **ends}
    return {} if cell in ("-", NOT_GIVEN) else {key: cell}
