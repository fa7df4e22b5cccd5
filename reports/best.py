"""python -m reports best: which of several rows has the highest score, to choose a method on a validation split."""

import argparse
import sys
from statistics import fmean

from earshot.atomic import write_text
from earshot.errors import require_apart
from reports.page import output_file
from reports.rows import add_rows, files_read, parse_rows, read_scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_rows(parser)
    parser.add_argument("--metric", default="cider_d", help="name of a score in scores.json (%(default)s)")
    parser.add_argument("--output", type=output_file, help="text file for the name of the best row")


def run(options: argparse.Namespace) -> None:
    """Print the name of the row with the highest mean, the first of equals; and all means on stderr."""
    paths = parse_rows(options.runs)
    require_apart([options.output], files_read(paths))
    scores = read_scores(paths, options.metric, "test it again or name another --metric")
    means = {name: fmean(values) for name, values in scores.items()}
    ranked = sorted(means, key=lambda name: -means[name])
    for name in ranked:
        print(f"{options.metric} {means[name]:.3f}: {name}", file=sys.stderr)
    print(ranked[0])
    if options.output is not None:
        write_text(options.output, f"{ranked[0]}\n")
