"""python -m reports compare: the captions of several runs of the same clips in one table, with intervals."""

import argparse
from pathlib import Path

import numpy as np

from earshot.errors import InputError, require_apart
from reports.costs import COSTS, SHOWN, TITLES, add_costs
from reports.guesses import Guess, constant_captions, shuffled_captions
from reports.logged_values import logged_values, read_titles
from reports.page import add_page, page_files, write_page
from reports.published import NUMBERS, beside, paper_titles, published
from reports.rows import add_rows, files_read, parse_rows, read_runs
from reports.table import Spread, add_measurement, at_least, measure_rows, titles

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
        help="a train or val split's folder, or a file of its captions: add rows of its best constant caption and of "
        "random captions",
    )
    add("--shuffle", metavar="ROW", help="add a row with this row's captions permuted among the clips")
    add("--shuffles", type=at_least(1), default=20, help="permutations and random draws to average (%(default)s)")
    add(
        "--logged",
        action="append",
        default=[],
        metavar="KEY=TITLE",
        help="add the last value of KEY in metrics.csv of the newest fit or validate beside each test, in "
        "runs/<run_name>; repeatable",
    )
    add(
        "--costs",
        action="store_true",
        help="add what the runs noted: parameters trained and frozen, seconds of training and of a caption, and which "
        "captions, sounds and pictures were read",
    )
    add(
        "--published",
        nargs=2,
        metavar=("PAPER", "CORPUS"),
        help="add a paper's numbers on a corpus, from reports/papers.csv: columns, and rows that only the paper has",
    )
    add_measurement(parser)
    add(
        "--html",
        action="store_true",
        help="also write a page beside the table, with the runs' captions clip by clip, sound, frame and differences "
        "(from --against, or the first row)",
    )
    add("--clips", type=at_least(0), default=60, help="clips on that page that get sound and image (%(default)s)")
    add_page(parser, "runs/report.md")


def run(options: argparse.Namespace) -> None:
    """Read, measure all rows at once, and write."""
    logged_titles = read_titles(options.logged)
    paths = parse_rows(options.runs)
    inputs = [*files_read(paths), options.vocabulary, options.constant_from]
    require_apart(page_files(options.output), inputs)
    for name in (options.against, options.of, options.shuffle):
        if name is not None and name not in paths:
            raise InputError(f"expected one of the rows {', '.join(paths)}, found {name!r}; correct the name")
    runs = read_runs(paths)
    against = options.against or (next(iter(paths)) if options.html and len(paths) > 1 else None)
    logged = logged_values(paths, list(logged_titles))
    rng = np.random.default_rng(options.seed)
    guesses: dict[str, Guess] = {}
    if options.constant_from is not None:
        clip_ids = next(iter(runs.values()))[0]["clip_ids"]
        guesses |= constant_captions(options.constant_from, clip_ids, options.shuffles, rng, options.java)
    if options.shuffle is not None:
        name = f"{options.shuffle}, shuffled"
        guesses[name] = shuffled_captions(runs[options.shuffle], options.shuffles, rng)
    if taken := guesses.keys() & paths.keys():
        raise InputError(
            f"expected rows of other names than the guesses', found {', '.join(sorted(taken))}; give them another name"
        )
    without_model = {name: guess.systems for name, guess in guesses.items()}
    found = measure_rows(options, COLUMNS, paths, runs, without_model, against, options.of)
    notes = [f"{name}: {guess.note}" for name, guess in guesses.items()]
    for key, title in logged_titles.items():
        notes.append(f"{title}: the last {key} that the newest fit or validate beside the test logged")
        for line in found.lines:
            values = logged.get(str(line["row"]), {}).get(key)
            line[key] = Spread(tuple(values)) if values else "-"
    headings = titles(against, options.of) | logged_titles | TITLES
    notes += add_costs(found.lines, paths) if options.costs else []
    theirs = published(*options.published) if options.published else {}
    if options.published and not theirs:
        raise InputError(f"expected a paper and a corpus of {NUMBERS.name}, found {options.published}; correct them")
    lines = beside(found.lines, theirs)
    apart = [COSTS, SHOWN] if options.costs else []
    write_page(options, lines, headings | paper_titles(theirs), notes, found.measured, apart=apart)
    if options.html:
        from reports.clip_pages.of_comparison import write_comparison

        path, title = options.output.with_suffix(".html"), options.title or "Comparison of runs"
        write_comparison(
            path,
            title,
            paths,
            runs,
            found,
            headings,
            [*options.note, *notes],
            against or next(iter(paths)),
            options.clips,
            options.command,
        )
        print(f"page: {path}")
