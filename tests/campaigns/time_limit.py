"""A limit of time for a block of a campaign: what hangs ends, and is told."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Hangs(BaseException):
    """Not a TimeoutError, which is an OSError, and those are named."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise `Hangs` in the block when it takes longer."""

    def stop(signum: int, frame: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
