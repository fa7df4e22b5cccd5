"""One line on an error of a command, however many of its processes meet it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOLD = "EARSHOT_TOLD"  # a file that the first process to tell makes


@contextmanager
def one_voice() -> Iterator[None]:
    """In the block, the processes that this one starts and this one tell one line together."""
    if os.environ.get("LOCAL_RANK", "0") != "0":  # started by such a block
        yield
        return
    folder = tempfile.mkdtemp(prefix="earshot-")
    os.environ[TOLD] = str(Path(folder, "told"))
    try:
        yield
    finally:
        hush()


def hush() -> None:
    """Nobody tells any more: the file has no folder."""
    if (path := os.environ.pop(TOLD, None)) is not None:
        shutil.rmtree(Path(path).parent, ignore_errors=True)


def tell(line: str) -> bool:
    """Write a line to stderr, unless another process of the command did; returns whether it was this one."""
    if (path := os.environ.get(TOLD)) is not None:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except OSError:  # it is there, or its folder is gone as the first process has ended
            return False
    print(line + "\n", end="", file=sys.stderr, flush=True)  # in one piece
    return True
