"""Embeddings on disk, computed once: memory-mapped, and shared by the ranks of a machine."""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from errors import InputError


def cached(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """The float32 embeddings (N, D) of a file, mapped and not read; None where there is no such file."""
    if not path.is_file() or path.stat().st_size != 4 * shape[0] * shape[1]:
        return None
    return torch.from_file(str(path), size=shape[0] * shape[1], dtype=torch.float32).view(shape)


def write_cache(path: Path, shape: tuple[int, int], pieces: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Write embeddings (N, D) from pieces, each the rows (C,) and their embeddings (C, D).

    The file is there when it is whole. What a killed process of this machine left is removed.

    Raises:
        InputError: the folder cannot be written, or has no room.
    """
    host = f"{path.name}.partial-{socket.gethostname()}-"
    partial = path.with_name(f"{host}{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{host}*"):
            if not is_running(int(old.name.removeprefix(host))):
                old.unlink(missing_ok=True)
        with open(partial, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])  # a full disk ends a mapping by a signal
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
