"""python -m reports compare: the captions of several runs of the same clips in one table, with intervals."""

import argparse
from pathlib import Path

from reports.guesses import Guesses
from reports.logged_values import logged_values, read_titles
from reports.measurement import add_measurement, measure_rows
from reports.page import add_page, write_page
from reports.rows import add_rows, parse_rows, read_runs, require_rows
from reports.table import Spread, titles

COLUMNS = ("bleu_4", "rouge_l", "cider_d", "meteor", "spice", "spider")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add_rows(parser)
    add("--against", metavar="ROW", help="add paired differences of CIDEr-D and verb recall from this row")
    add("--of", metavar="ROW", help="add each SPIDEr as a share of this row's")
    add(
        "--constant-from",
        metavar="SPLIT",
        type=Path,
        help="train or val split folder or captions file: add rows of its best constant caption and of random captions",
    )
    add("--shuffle", metavar="ROW", help="add a row with this row's captions permuted among the clips")
    add("--shuffles", type=int, default=20, help="permutations and random draws to average (%(default)s)")
    add(
        "--logged",
        action="append",
        default=[],
        metavar="KEY=TITLE",
        help="add the last value of KEY in metrics.csv of the newest fit or validate beside each test, in "
        "runs/<run_name>; repeatable",
    )
    add_measurement(parser)
    add_page(parser, "runs/report.md")


def run(options: argparse.Namespace) -> None:
    """Read, measure all rows at once, and write."""
    logged_titles = read_titles(options.logged)
    paths = parse_rows(options.runs)
    require_rows(paths, options.against, options.of, options.shuffle)
    runs = read_runs(paths)
    logged = logged_values(paths, list(logged_titles))
    guesses = Guesses(next(iter(runs.values()))[0], options.shuffles, options.seed)
    if options.constant_from is not None:
        guesses.add_constant(options.constant_from, options.java)
    if options.shuffle is not None:
        guesses.add_shuffled(options.shuffle, runs[options.shuffle])
    found = measure_rows(options, COLUMNS, paths, runs, guesses.systems, options.against, options.of)
    notes = guesses.notes
    for key, title in logged_titles.items():
        notes.append(f"{title}: the last {key} that the newest fit or validate beside the test logged")
        for line in found.lines:
            values = logged.get(str(line["row"]), {}).get(key)
            line[key] = Spread(tuple(values)) if values else "-"
    headings = titles(options.against, options.of) | logged_titles
    write_page(options, found.lines, headings, notes, found.measured, turned=True)
