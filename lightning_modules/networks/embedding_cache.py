"""Embeddings on disk, computed once: memory-mapped, and shared by the ranks of a machine."""

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor


def cached(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """The float32 embeddings (N, D) of a file, mapped and not read; None where there is no such file."""
    if not path.is_file() or path.stat().st_size != 4 * shape[0] * shape[1]:
        return None
    return torch.from_file(str(path), size=shape[0] * shape[1], dtype=torch.float32).view(shape)


def write_cache(path: Path, shape: tuple[int, int], pieces: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Write embeddings (N, D) from pieces, each the rows (C,) and their embeddings (C, D); a kill leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        table = torch.from_file(str(partial), shared=True, size=shape[0] * shape[1], dtype=torch.float32).view(shape)
        for rows, embeddings in pieces:
            table[rows] = embeddings.float().cpu()
        del table
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
