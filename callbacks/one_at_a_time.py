"""Two commands do not write to the folder of one training run at the same time."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from earshot.errors import InputError

NAME = ".in_use"  # a file that the process holds a lock of, which ends with it, however it ends
held: dict[Path, int] = {}  # file descriptors by run folder


def take(folder: Path) -> None:
    """Hold a run folder until `give_back`; a file system without locks holds nobody back.

    Raises:
        InputError: another process holds it.
    """
    file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(file)
        raise InputError(
            f"expected {folder}/ to resume, found that another command still trains there; wait for its end or stop it"
        ) from None
    except OSError:
        pass
    held[folder] = file


def give_back(folder: Path) -> None:
    """Let others have a run folder, where this process holds it."""
    if (file := held.pop(folder, None)) is not None:
        with suppress(OSError):
            (folder / NAME).unlink()
        os.close(file)
