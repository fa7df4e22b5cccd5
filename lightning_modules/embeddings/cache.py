"""Embeddings on disk, computed once: memory-mapped, and shared by the ranks of a machine."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from earshot.atomic import atomic_path
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

    Raises:
        InputError: the folder cannot be written, or has no room.
    """
    size = 4 * shape[0] * shape[1]
    try:
        with atomic_path(path) as partial:
            with open(partial, "wb") as file:
                for start in range(0, size, CHUNK):  # a full disk would end a mapping by a signal
                    file.write(bytes(min(CHUNK, size - start)))
            table = torch.from_file(str(partial), shared=True, size=size // 4, dtype=torch.float32).view(shape)
            for rows, embeddings in pieces:
                table[rows] = embeddings.float().cpu()
            del table
    except OSError as error:
        raise InputError(
            f"expected room for {1e-6 * size:.1f} MB of embeddings in {path.parent}, found: {error.strerror}; give "
            "another folder as model.cache"
        ) from None
