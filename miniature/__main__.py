"""python -m miniature {write,make}: the splits of the procedural world that ships with the project, and its models."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from earshot.errors import one_line_errors


def main(args: Sequence[str] | None = None) -> None:
    """The miniature: a procedural audiovisual world to train on without a download."""
    parser = argparse.ArgumentParser(prog="earshot miniature", description=main.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    text = "write splits of the world; training writes the splits that it reads by itself"
    write = verbs.add_parser("write", help=text, description=text)
    write.add_argument("names", nargs="*", metavar="SPLIT", help="such as audiocaps/val or sentences; default: all")
    write.add_argument("--root", type=Path, default=Path("data/miniature"), help="default: %(default)s")
    text = "make small pretrained models again, from seed 0: on the same CPU and versions, the same bytes"
    make = verbs.add_parser("make", help=text, description=text)
    make.add_argument("names", nargs="+", metavar="MODEL", help="llava, cav_mae, prefix, vicuna, clap, gpt2 or matcher")
    make.add_argument("--root", type=Path, default=Path("assets/miniature"), help="default: %(default)s")
    options = parser.parse_args(args)
    with one_line_errors():
        if options.verb == "write":
            from miniature.splits import write_splits

            write_splits(options.root, options.names)
        else:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
            from miniature.make import make_models

            make_models(options.names, options.root)


if __name__ == "__main__":
    main()
