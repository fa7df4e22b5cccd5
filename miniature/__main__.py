"""python -m miniature: write the splits of the procedural world that ships with the project."""

import argparse
from pathlib import Path

from earshot.errors import one_line_errors
from miniature import write_miniature


def main(args: list[str] | None = None) -> None:
    """Write splits of the miniature, all of them by default; training writes those that it reads by itself."""
    parser = argparse.ArgumentParser(prog="python -m miniature", description=main.__doc__)
    parser.add_argument("splits", nargs="*", metavar="corpus/split", help="such as audiocaps/val, sentences")
    parser.add_argument("--root", type=Path, default=Path("data/miniature"), help="default: %(default)s")
    options = parser.parse_args(args)
    with one_line_errors():
        write_miniature(options.root, options.splits)


if __name__ == "__main__":
    main()
