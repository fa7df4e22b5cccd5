"""How every file and folder of the project is put in its place: whole, or not at all."""

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DAY = 24 * 3600.0
FULL = 2**16  # bytes: with less than a block or two left, a failed write has filled the disk


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file to, which takes its place when the block ends without an error.

    A reader of `path` finds the old file or the whole new one. A full disk or an exception leaves the old file, and
    nothing beside it. A killed process may leave `.<name>.<host>-<pid>.partial`, which the next write removes.
    """
    with _partial(path) as partial:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
        os.replace(partial, path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` to fill, which takes its place, as `atomic_path` does with a file.

    Of several processes that write one, the last to end leaves its own.
    """
    with _partial(path) as partial:
        partial.mkdir()
        yield partial
        while not _moved(partial, path):  # a folder can only be renamed over an empty one
            with _partial(path.with_name(f"{path.name}.old")) as old, suppress(FileNotFoundError):
                path.rename(old)
                if _moved(partial, path):
                    break


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8 by `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_left_behind(path: Path) -> None:
    """Remove what processes that were killed have left of `path`."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        if _left_behind(partial, f".{path.name}.{socket.gethostname()}-"):
            _remove(partial)


def _moved(partial: Path, path: Path) -> bool:
    """Rename a folder; False where another thing is there, such as what another process has written meanwhile."""
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """The name of what is not finished yet; removed at the end, as are those that killed processes left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(path)
    partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        yield partial
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise
    except Exception as error:
        if shutil.disk_usage(path.parent).free < FULL:  # torch and safetensors do not say so in errors of their own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        _remove(partial)


def _left_behind(partial: Path, prefix: str) -> bool:
    """Whether the process that wrote it has ended; on another host, whether nothing was written for a day."""
    pid = partial.name.removeprefix(prefix).removesuffix(".partial")
    try:
        if pid.isdecimal():
            os.kill(int(pid), 0)  # asks whether the process is there
            return int(pid) == os.getpid()
        return time.time() - partial.stat().st_mtime > DAY
    except ProcessLookupError:
        return True
    except OSError:  # another user's process, or the file has gone meanwhile
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
