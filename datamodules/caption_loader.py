"""Loaders of captions without their sounds, which fit in memory: every rank as many batches, from any position."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from datamodules.clips import CaptionBatch
from datamodules.stream_plan import eval_steps, train_steps
from earshot.errors import InputError


class CaptionLoader:
    """Batches of captions, shuffled every epoch where there is a seed, else in order and each exactly once.

    A training batch is a function of (captions, seed, world, rank, batch size, position) alone, so that a run resumes
    from one integer.

    Args:
        captions: all of the split.
        batch_size: captions of a batch of one rank.
        seed: of the order; None for evaluation.
        position: returns the number of batches that this rank has done, in all epochs.
    """

    def __init__(
        self,
        captions: list[str],
        batch_size: int,
        *,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        self.captions = captions
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.seed = seed
        self.position = position
        if not len(self):
            raise InputError(
                f"expected at least {batch_size * world} captions, a batch of {batch_size} on each of {world} devices, "
                f"found {len(captions)}; lower batch_size"
            )

    def __len__(self) -> int:
        """Batches of an epoch; in evaluation the last may hold fewer captions, or none."""
        steps = eval_steps if self.seed is None else train_steps
        return steps([len(self.captions)], self.batch_size, self.world)

    def __iter__(self) -> Iterator[CaptionBatch]:
        """As many batches as an epoch has, from `position` on."""
        if self.seed is None:
            first, last = (len(self.captions) * number // self.world for number in (self.rank, self.rank + 1))
            for step in range(len(self)):
                start = min(first + step * self.batch_size, last)
                yield self._batch(np.arange(start, min(start + self.batch_size, last)))
            return
        position = self.position()
        for number in range(position, position + len(self)):
            epoch, step = divmod(number, len(self))
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.captions))
            start = (step * self.world + self.rank) * self.batch_size
            yield self._batch(order[start : start + self.batch_size])

    def _batch(self, rows: np.ndarray) -> CaptionBatch:
        return CaptionBatch(torch.from_numpy(rows), [self.captions[row] for row in rows])

    def state_dict(self) -> dict[str, Any]:
        """Nothing, as the trainer has the position; Lightning warns of loaders without this."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""
