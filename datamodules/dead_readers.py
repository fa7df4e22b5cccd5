"""Processes that read, and that the system has killed: what the main process meets then."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from earshot.errors import InputError


def dead_reader(said: str) -> InputError:
    """The line about a process that reads and has died; `said` is how the main process learned of it."""
    return InputError(
        f"expected processes that read to go on, found: {said}; if memory ran out, lower data.num_workers or "
        "data.shuffle_window"
    )


def read_by_others(loader: Iterable[Any]) -> Iterator[Any]:
    """The items of a torch DataLoader with processes of its own, of which an item's file handles may still be fetched.

    Raises:
        InputError: the process that made an item died before the item was here.
        RuntimeError: torch says so, as it does wherever the main process is.
    """
    try:
        yield from loader
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        time.sleep(1)  # in which torch, that a signal tells of the death, may raise its own error, here and not later
        raise dead_reader(f"DataLoader worker gone ({type(error).__name__}: {error})") from error
