"""Batches of texts that fit in memory: as many on every rank, from any position."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from datamodules.batch_order import ALONE, BatchOrder, KeepsNoState
from datamodules.stream_plan import eval_steps, train_steps
from earshot.errors import InputError

B = TypeVar("B")


@dataclass(eq=False)
class TextLoader(KeepsNoState, Generic[B]):
    """Batches of `count` texts, shuffled every epoch, or in order and each text exactly once.

    Args:
        count: number of texts.
        make_batch: called with the numbers (B,) of a batch's texts; with none for a filler batch, which gives every
            rank as many batches.
        batch_size: texts of a batch of one rank.
        shuffle: for training; evaluation takes the order as it is.

    Raises:
        InputError: too few texts for a batch.
    """

    count: int
    make_batch: Callable[[np.ndarray], B]
    batch_size: int
    order: BatchOrder = ALONE
    shuffle: bool = True

    def __post_init__(self) -> None:
        if not len(self):
            raise InputError(
                f"expected at least {self.order.a_step(self.batch_size)}, found {self.count} texts; lower batch_size "
                "or global_batch_size"
            )

    def __len__(self) -> int:
        """Batches of an epoch, fillers included."""
        count, size, world_size = [self.count], self.batch_size, self.order.world_size
        if self.shuffle:
            return train_steps(count, size, world_size, self.order.accumulate)
        return eval_steps(count, size, world_size)

    def __iter__(self) -> Iterator[B]:
        """As many batches as an epoch has; in training from the order's position on."""
        rank, world_size = self.order.rank, self.order.world_size
        if self.shuffle:
            for step, rows in self.order.shuffled(self.count, len(self)):
                start = (step * world_size + rank) * self.batch_size
                yield self.make_batch(rows[start : start + self.batch_size])
        else:
            first, last = (self.count * number // world_size for number in (rank, rank + 1))
            for start in range(first, first + len(self) * self.batch_size, self.batch_size):
                yield self.make_batch(np.arange(min(start, last), min(start + self.batch_size, last)))
