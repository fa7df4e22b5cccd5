"""A report as a page: one table in Markdown, as CSV beside it and on the terminal, with what was measured and how."""

import argparse
import csv
import html
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earshot.atomic import atomic_path, write_text
from earshot.errors import InputError
from earshot.terminal import printable
from evaluation.bootstrap import Estimate
from reports.origin import HEADING, origin
from reports.table import NOT_GIVEN, Cell, Line, Spread

BESIDE = (".md", ".csv", ".png", ".svg", ".html")
# what Markdown reads as more than text in a cell; of brackets what makes a link of them, of _ what is not within a word
MARKUP = re.compile(r"[\\`*~|{]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")
LONGEST_NAME, LONGEST_NUMBER = 30, 12  # in characters, on the terminal
COUNTS = ("N", "trainings")  # the terminal shows them where they differ
TELLING = ("cider_d", "spider", "fense", "audibility", "verb_recall", "visual_share", "rouge_l")  # they get room first


def add_page(parser: argparse.ArgumentParser, output: str, what: str = "Markdown file; a CSV goes beside it") -> None:
    """The options of a page."""
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--note", action="append", default=[], help="paragraph above the table; repeatable")
    parser.add_argument("--output", type=output_file, default=Path(output), help=f"{what} (%(default)s)")


def output_file(text: str) -> Path:
    """The type of --output: refuses a folder before anything is measured, also in the place of a file beside it."""
    for path in page_files(Path(text)):
        if path.is_dir():
            raise InputError(f"expected a file as --output, found the folder {path}; name a file in it")
    return Path(text)


def page_files(output: Path) -> list[Path]:
    """--output, and all that a page may have beside it."""
    return [output, *(output.with_suffix(suffix) for suffix in BESIDE if output.name)]


def write_page(
    options: argparse.Namespace,
    lines: Sequence[Line],
    headings: Mapping[str, str],
    notes: Sequence[str],
    measured: Sequence[str],
    figure: Path | None = None,
    apart: Sequence[Collection[str]] = (),
    printed: bool = True,
) -> None:
    """Write a page, and print it.

    Args:
        options: of `add_page`, and the command.
        lines: the table; its columns are the keys of the first line.
        headings: titles of columns whose key is not their title.
        notes: on the rows and columns, below the table.
        measured: how the numbers were measured, beside the command, the versions and the date.
        figure: a picture beside the page, to be shown on it.
        apart: columns that the terminal shows in tables of their own.
        printed: False only writes.
    """
    markdown, values = (options.output.with_suffix(suffix) for suffix in (".md", ".csv"))
    grid = [[headings.get(key, key) for key in lines[0]], *([str(cell) for cell in line.values()] for line in lines)]
    rows = [" | ".join(map(plain, row)) for row in grid]
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
    if not printed:
        return
    console = Console()
    name, *others = lines[0]
    first = [key for key in others if not any(key in keys for keys in apart)]
    left_out = []
    for keys in (first, *apart):
        left_out += print_table(console, [{key: line[key] for key in (name, *keys)} for line in lines], headings)
    for note in (*notes, *measured):
        console.print(note, soft_wrap=True, markup=False)
    if left_out:
        console.print(f"in the files also: intervals and {', '.join(left_out)}", soft_wrap=True, markup=False)
    console.print(f"written to {markdown} and {values}", soft_wrap=True, markup=False)


def print_table(console: Console, lines: Sequence[Line], headings: Mapping[str, str]) -> list[str]:
    """One row a line, of numbers no intervals, and as many columns as the terminal is wide; texts are folded.

    Returns:
        The titles of the columns for which there was no room.
    """
    grid = {key: [short(line.get(key, "-")) for line in lines] for key in lines[0]}
    texts = [key for key, cells in grid.items() if max(map(len, cells)) > LONGEST_NUMBER]
    name, *others = (key for key, cells in grid.items() if key not in COUNTS or len({*cells} - {"-"}) > 1)
    shown = Table()
    shown.add_column(escape(headings.get(name, name)), overflow="fold", max_width=None if texts[1:] else LONGEST_NAME)
    room = console.width - 4 - min(LONGEST_NAME, max(map(len, [headings.get(name, name), *grid[name]])))
    kept, left_out = {name}, []
    for key in sorted(others, key=lambda key: TELLING.index(key) if key in TELLING else len(TELLING)):
        title = headings.get(key, key)
        needed = 3 + max(*map(len, title.split()), *map(len, grid[key]))  # a title may take several lines
        if key not in texts and needed > room:
            left_out.append(title)
            continue
        room -= needed if key not in texts else 0
        kept.add(key)
    for key in (key for key in others if key in kept):
        shown.add_column(escape(headings.get(key, key)), overflow="fold", justify="left" if key in texts else "right")
    for row in zip(*(cells for key, cells in grid.items() if key in kept)):
        shown.add_row(*map(escape, row))
    console.print(shown)
    return left_out


def plain(text: str) -> str:
    """A cell of a Markdown table that shows nothing but its text: captions may come from anywhere."""
    return MARKUP.sub(lambda mark: f"&#{ord(mark[0])};", html.escape(" ".join(text.split()), quote=False))


def short(cell: Cell) -> str:
    """A cell as the terminal shows it: a number without its interval."""
    if isinstance(cell, Estimate):
        return f"{cell.value:.3f}"
    if isinstance(cell, Spread):
        return str(Spread((float(np.mean(cell.values)),)))
    return printable(" ".join(cell.split()))


def csv_cells(key: str, cell: Cell) -> dict[str, str]:
    """A cell's columns in the CSV, the ends of an interval in columns of their own; none where there is nothing."""
    if isinstance(cell, Estimate):
        return {key: repr(cell.value), f"{key}_low": repr(cell.low), f"{key}_high": repr(cell.high)}
    if isinstance(cell, Spread):
        ends = {f"{key}_lowest": repr(min(cell.values)), f"{key}_highest": repr(max(cell.values))}
        return {key: repr(float(np.mean(cell.values))), **ends}
    return {} if cell in ("-", NOT_GIVEN) else {key: cell}
