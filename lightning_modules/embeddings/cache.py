"""Embeddings on disk, computed once: memory-mapped, and shared by the ranks of a machine."""

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from earshot.errors import InputError

CHUNK = 2**24  # bytes


def cached(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """The float32 embeddings (N, D) of a file, memory-mapped; None where the file is missing or of another size."""
    if not path.is_file() or path.stat().st_size != 4 * shape[0] * shape[1]:
        return None
    return torch.from_file(str(path), size=shape[0] * shape[1], dtype=torch.float32).view(shape)


def shared_cache(
    path: Path,
    shape: tuple[int, int],
    pieces: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    writes: bool,
    broadcast: Callable[[str | None], str | None],
) -> Tensor:
    """The embeddings (N, D) of a file, on every rank; the first rank writes it where it is missing.

    Args:
        path: of the file.
        shape: (N, D).
        pieces: called to compute them, as `write_cache` takes them.
        writes: whether this is the first rank.
        broadcast: called on all ranks, returns to all what the first rank gave it.

    Raises:
        InputError: the first rank cannot write (on all ranks), or a node does not see the file.
    """
    wrong = None
    if writes and cached(path, shape) is None:
        try:
            write_cache(path, shape, pieces())
        except InputError as error:
            wrong = str(error)
    if wrong := broadcast(wrong):
        raise InputError(wrong)
    found = cached(path, shape)
    if found is None:
        raise InputError(f"expected embeddings in {path}, found none on this node; put `cache` where all nodes see it")
    return found


def write_cache(path: Path, shape: tuple[int, int], pieces: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Write embeddings (N, D) from pieces, each with row numbers (C,) and their embeddings (C, D).

    The file gets its name once it is complete. Files that killed processes of this machine left are removed.

    Raises:
        InputError: the folder cannot be written, or has no room.
    """
    host = f"{path.name}.partial-{socket.gethostname()}-"
    partial = path.with_name(f"{host}{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{host}*"):
            number = old.name.removeprefix(host)
            if number.isdigit() and not is_running(int(number)):
                old.unlink(missing_ok=True)
        with open(partial, "wb") as file:
            for start in range(0, 4 * shape[0] * shape[1], CHUNK):  # a full disk would end a mapping by a signal
                file.write(bytes(min(CHUNK, 4 * shape[0] * shape[1] - start)))
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InputError(
            f"expected room for {4e-6 * shape[0] * shape[1]:.1f} MB of embeddings in {path.parent}, found: "
            f"{error.strerror}; give another folder as model.cache"
        ) from None
    try:
        table = torch.from_file(str(partial), shared=True, size=shape[0] * shape[1], dtype=torch.float32).view(shape)
        for rows, embeddings in pieces:
            table[rows] = embeddings.float().cpu()
        del table
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
