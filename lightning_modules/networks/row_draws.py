"""Random changes of clips or captions that do not depend on how a global batch is divided among devices."""

import hashlib
import os
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def row_seeds(step: int, names: Iterable[object]) -> list[int] | None:
    """A seed for each clip or caption of a batch, from seed_everything, the optimizer step and its name alone.

    None with `seed_everything: false`.
    """
    if (seed := os.environ.get("PL_GLOBAL_SEED")) is None:  # set by Lightning's seed_everything
        return None
    digests = (hashlib.blake2b(f"{seed} {step} {name}".encode(), digest_size=7).digest() for name in names)
    return [int.from_bytes(digest, "big") for digest in digests]


def by_row(change: Callable[[Tensor], Tensor], rows: Tensor, seeds: list[int] | None) -> Tensor:
    """What `change` makes of each of the rows (B, ...) alone, with the random numbers of its seed; the same shape.

    Torch's generators are as before. Without seeds, all rows are changed together.
    """
    if seeds is None:
        return change(rows)
    changed = []
    with torch.random.fork_rng([rows.device] if rows.is_cuda else []):
        for row, seed in zip(rows.split(1), seeds, strict=True):
            torch.manual_seed(seed)
            changed.append(change(row))
    return torch.cat(changed)
