"""Random changes of clips or captions that do not depend on how a global batch is divided among devices."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from earshot.step_seed import seed_step


class Part(NamedTuple):
    """A batch among those, of all devices, that make up an optimizer step.

    Attributes:
        seed: of seed_everything.
        step: number of the optimizer step.
        number: of the batch in the step, from 0.
        batches: how many the step has, all of the same size.
    """

    seed: int
    step: int
    number: int
    batches: int


def part_of_step(trainer: Any, batch_idx: int) -> Part | None:
    """Where training batch `batch_idx` of this rank stands; None without a trainer or with `seed_everything: false`."""
    seed = os.environ.get("PL_GLOBAL_SEED")  # set by Lightning's seed_everything
    if trainer is None or seed is None:
        return None
    number = batch_idx % trainer.accumulate_grad_batches * trainer.world_size + trainer.global_rank
    return Part(int(seed), trainer.global_step, number, trainer.accumulate_grad_batches * trainer.world_size)


def changed(change: Callable[[Tensor], Tensor], rows: Tensor, part: Part | None) -> Tensor:
    """What `change`, to which rows are nothing to one another, makes of rows (B, ...); the same shape.

    It is called with all rows of the step, those of other batches zero, so that a row gets the random numbers of its
    place in the step. Torch's generators are as before. Without a part, it is called with the rows alone.
    """
    if part is None:
        return change(rows)
    own = slice(part.number * len(rows), (part.number + 1) * len(rows))
    step = torch.cat([rows if number == part.number else torch.zeros_like(rows) for number in range(part.batches)])
    with torch.random.fork_rng([rows.device] if rows.is_cuda else []):
        seed_step(rows.device, part.seed, 1, part.step)
        return change(step)[own]
