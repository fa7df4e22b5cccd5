"""The one exception for bad input; commands print it as one line and exit with code 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Input that cannot be used: says what was expected, what was found and what to do."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an InputError inside the block into one line on stderr and exit code 2."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
