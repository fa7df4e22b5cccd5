"""Text on the terminal: what files and models hold, times, and how far long work is."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
FIRST, EVERY = 10.0, 30.0  # seconds until the first line, and between two


def printable(text: str) -> str:
    """The text with a � for each control character: a file name or a caption could otherwise steer the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `6 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(items: Iterable[T], what: str, unit: str) -> Iterator[T]:
    """The items, with a bar on a terminal, and in a log file with a line now and then that says how many are done."""
    from tqdm import tqdm

    bar = tqdm(items, desc=what, unit=unit, disable=None)
    if not bar.disable:
        yield from bar
        return
    began = time.monotonic()
    due = began + FIRST
    for number, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) >= due:
            of = f" of {bar.total}" if bar.total else ""
            left = f", about {duration((now - began) / number * (bar.total - number))} left" if bar.total else ""
            print(f"{what}: {number}{of} {unit}{left}", flush=True)
            due = now + EVERY
