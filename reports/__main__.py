"""python -m reports: tables, figures and pages about runs."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from earshot.errors import one_line_errors

VERBS = {
    "compare": "runs that captioned the same clips in one table, with bootstrap intervals",
    "html": "the page of a test that `test` wrote, again: scores, and clips to hear, see and search",
    "sweep": "captions guided with several lambda_2 in a table and a figure (audibility guidance, Table 2)",
    "plot": "scores of runs against a number that differs between them (DALI, Figure 5)",
    "examples": "captions of the same clips by several runs, side by side (DALI, Tables 2 and 4)",
    "paper": "DALI's rows beside the paper's, and which of its claims hold",
    "listen": "a page for a blind listening test: raters choose between two runs' captions, or grade one's",
    "listened": "what raters of a listening test preferred, with intervals, and how far they agree",
    "best": "the name of the row with the highest score, to choose a method on a validation split",
}


def main(args: Sequence[str] | None = None) -> None:
    """Make tables, figures and pages about runs; each verb has a --help of its own."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(prog="earshot report", description=main.__doc__)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, what in VERBS.items():
        verb = verbs.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        if name in args[:1]:
            module = importlib.import_module(f"reports.{name}")
            module.add_arguments(verb)
            verb.set_defaults(run=module.run, command=["python", "-m", "reports", *args])
    with one_line_errors():
        options = parser.parse_args(args)
        options.run(options)


if __name__ == "__main__":
    main()
