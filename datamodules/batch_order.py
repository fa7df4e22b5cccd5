"""Which batches a loader makes, and from which one on: the same arguments for every loader."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import lightning as L
import numpy as np
from lightning.pytorch.loops.progress import _ProcessedTracker


def the_first() -> int:
    """Position of a run that begins."""
    return 0


@dataclass(frozen=True)
class BatchOrder:
    """One rank's batches in the order of a seed; a training batch is a function of these and its position alone.

    Attributes:
        rank: of this process.
        world_size: number of processes that share the batches.
        seed: of the order in training.
        position: returns how many training batches the rank has done, in all epochs; a loader goes on from there.
        accumulate: training batches of each rank in an optimizer step; an epoch has whole steps.
    """

    rank: int = 0
    world_size: int = 1
    seed: int = 0
    position: Callable[[], int] = the_first
    accumulate: int = 1

    @classmethod
    def of(cls, trainer: L.Trainer, seed: int = 0) -> Self:
        """The trainer's rank, world size and position, which its checkpoints hold too."""

        def position() -> int:
            if vars(trainer)["overfit_batches"]:  # Lightning declares no such attribute
                return 0  # the same batches again every epoch
            done = trainer.fit_loop.epoch_loop.batch_progress.total
            assert isinstance(done, _ProcessedTracker)
            return done.processed

        return cls(trainer.global_rank, trainer.world_size, seed, position, trainer.accumulate_grad_batches)

    def a_step(self, batch_size: int) -> str:
        """How many an optimizer step takes, for an error."""
        number = batch_size * self.world_size * self.accumulate
        more = f", {self.accumulate} times" if self.accumulate > 1 else ""
        return f"{number}, a batch of {batch_size} on each of {self.world_size} devices{more}"

    def shuffled(self, count: int, steps: int) -> Iterator[tuple[int, np.ndarray]]:
        """For as many batches as an epoch has `steps`, from `position` on: the step, and the order of `count` rows."""
        first = self.position()
        for position in range(first, first + steps):
            epoch, step = divmod(position, steps)
            yield step, np.random.default_rng((self.seed, epoch)).permutation(count)


ALONE = BatchOrder()  # the only process, at the beginning


class KeepsNoState:
    """A loader whose position the trainer keeps; Lightning warns of loaders without these methods."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer counts the batches."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""
