"""python -m reports html: the page of a test again, such as with the sound of more clips."""

import argparse
from pathlib import Path

from reports.table import at_least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    add(
        "test",
        metavar="RUN",
        type=Path,
        help="a run folder, runs/<run_name> (the newest test in it) or a captions file with scores",
    )
    add("--clips", type=at_least(0), default=60, help="clips that get sound and image (%(default)s)")
    add("--data", type=Path, metavar="SPLIT", help="folder of the split that was tested, where it has moved")
    add("--output", type=Path, help="HTML file (report.html in the run folder, or mine.report.html)")


def run(options: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from reports.clip_pages.of_run import write_report

    print(write_report(options.test, options.clips, options.data, options.output))
