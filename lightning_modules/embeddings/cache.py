"""Files of embeddings, memory-mapped, so that the ranks of a machine share them."""

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def new_cache(path: Path, shape: tuple[int, int]) -> Iterator[Tensor]:
    """A file's embeddings (N, D), to be filled in the block; the file is there once the block has ended well.

    Raises:
        InputError: the folder cannot be written, or has no room.
    """
    size = 4 * shape[0] * shape[1]
    try:
        with atomic_path(path) as partial:
            with open(partial, "wb") as file:
                for start in range(0, size, CHUNK):  # a full disk would end a mapping by a signal
                    file.write(bytes(min(CHUNK, size - start)))
            yield torch.from_file(str(partial), shared=True, size=size // 4, dtype=torch.float32).view(shape)
    except OSError as error:
        raise InputError(
            f"expected room for {1e-6 * size:.1f} MB of embeddings in {path.parent}, found: {error.strerror}; give "
            "another folder as model.cache"
        ) from None
