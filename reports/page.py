"""A report as a page: one table in Markdown, as CSV beside it and on the terminal, with what was measured and how."""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earshot.atomic import atomic_path, write_text
from evaluation.bootstrap import Estimate
from reports.origin import HEADING, origin
from reports.table import Cell, Line, Spread


def add_page(parser: argparse.ArgumentParser, output: str, what: str = "Markdown file; a CSV goes beside it") -> None:
    """The options of a page."""
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--note", action="append", default=[], help="paragraph above the table; repeatable")
    parser.add_argument("--output", type=Path, default=Path(output), help=f"{what} (%(default)s)")


def write_page(
    options: argparse.Namespace,
    lines: Sequence[Line],
    headings: Mapping[str, str],
    notes: Sequence[str],
    measured: Sequence[str],
    turned: bool = False,
) -> None:
    """Write and print a page.

    Args:
        options: of `add_page`, and the command.
        lines: the table; its columns are the keys of the first line.
        headings: titles of columns whose key is not their title.
        notes: on the rows and columns, below the table.
        measured: how the numbers were measured, beside the command, the versions and the date.
        turned: print the table turned by 90 degrees, so that many columns fit a terminal.
    """
    markdown, values = (options.output.with_suffix(suffix) for suffix in (".md", ".csv"))
    titles = [headings.get(key, key) for key in lines[0]]
    text = [f"# {options.title}"] if options.title else []
    text += options.note
    text.append("\n".join([_row(titles), f"|{'---|' * len(titles)}", *(_row(line.values()) for line in lines)]))
    text += ["\n".join(f"- {note}" for note in notes)] if notes else []
    text += [HEADING, "\n".join(f"- {entry}" for entry in (*measured, *origin(options.command)))]
    write_text(markdown, "\n\n".join(text) + "\n")
    _write_csv(values, lines)
    console = Console()
    console.print(_turned(lines, titles) if turned else _upright(lines, titles))
    for note in (*notes, *measured, f"written to {markdown} and {values}"):
        console.print(note, soft_wrap=True, markup=False)


def _row(cells: Iterable[object]) -> str:
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def _write_csv(path: Path, lines: Sequence[Line]) -> None:
    columns = {column: None for key in lines[0] for line in lines for column in csv_cells(key, line[key])}
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for line in lines:
            writer.writerow({column: text for key in line for column, text in csv_cells(key, line[key]).items()})


def csv_cells(key: str, cell: Cell) -> dict[str, str]:
    """A cell's columns in the CSV, the ends of an interval in columns of their own; none where there is nothing."""
    if isinstance(cell, Estimate):
        return {key: repr(cell.value), f"{key}_low": repr(cell.low), f"{key}_high": repr(cell.high)}
    if isinstance(cell, Spread):
        ends = {f"{key}_lowest": repr(min(cell.values)), f"{key}_highest": repr(max(cell.values))}
        return {key: repr(float(np.mean(cell.values))), **ends}
    return {} if cell == "-" else {key: cell}


def _upright(lines: Sequence[Line], titles: Sequence[str]) -> Table:
    table = Table(*map(escape, titles))
    for line in lines:
        table.add_row(*(escape(str(cell)) for cell in line.values()))
    return table


def _turned(lines: Sequence[Line], titles: Sequence[str]) -> Table:
    table = Table("")
    first, *keys = lines[0]
    for line in lines:
        table.add_column(escape(str(line[first])), justify="right", overflow="fold")
    for key, title in zip(keys, titles[1:]):
        cells = (line[key] for line in lines)
        table.add_row(escape(title), *(cell if isinstance(cell, str) else cell.narrow() for cell in cells))
    return table
