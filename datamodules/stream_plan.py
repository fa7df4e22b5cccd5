"""Who reads which samples: plans made of the shards' sample counts alone, the same on every rank.

Training: the shards of an epoch are shuffled and laid end to end, and the line is cut into lanes of equal length. A
step has a slot for each of its samples, over all devices; each lane fills an equal share of the slots, one run of
samples after the other, shuffled in windows. So the samples of a slot follow from the seed, the epoch and the number of
the step: ranks and workers only divide the slots among them, however many they are.

Evaluation: each worker of each rank reads a contiguous stretch of samples and yields whole batches of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LANE = 4096  # samples of a lane, at least: it begins in the middle of a shard, whose first half is passed over


@dataclass(frozen=True)
class Piece:
    """Samples `start` to `stop` - 1 of shard number `shard`."""

    shard: int
    start: int
    stop: int


@dataclass(frozen=True)
class TrainPlan:
    """An epoch of training; what changes with the epoch are the order and the samples left out, fewer than a step has.

    Args:
        counts: samples in each shard.
        slots: samples of an optimizer step, over all devices.
        window: samples are shuffled among this many neighbours, over all lanes together; at least the slots count.
    """

    counts: Sequence[int]
    slots: int
    seed: int = 0
    epoch: int = 0
    window: int = 512

    @property
    def steps(self) -> int:
        """Of the epoch."""
        return sum(self.counts) // self.slots

    @cached_property
    def lanes(self) -> int:
        """As many as there can be with LANE samples in each and an equal share of the slots."""
        most = max(1, sum(self.counts) // LANE)
        return max(number for number in range(1, min(most, self.slots) + 1) if self.slots % number == 0)

    @property
    def width(self) -> int:
        """Slots of a lane: lane i fills those from i * width on."""
        return self.slots // self.lanes

    @property
    def height(self) -> int:
        """Steps of a window, but for the last, which may be shorter."""
        return max(1, self.window // self.slots)

    @cached_property
    def line(self) -> tuple[list[int], int]:
        """The order of the shards, and the sample of them all that the first lane begins with."""
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.counts)).tolist()
        return order, int(generator.integers(sum(self.counts)))  # else an only shard's end is always left out

    def pieces(self, lane: int, first_step: int = 0) -> list[Piece]:
        """What a lane reads, from the beginning of the window that has `first_step`."""
        order, start = self.line
        past = first_step // self.height * self.height * self.width
        length = self.steps * self.width
        return _cut(self.counts, order, start + lane * length + past, length - past)

    def windows(self, lane: int, first_step: int = 0) -> Iterator[np.ndarray]:
        """Of each window of a lane, from the one that has `first_step`: which of its samples fills which slot of which
        step, (steps, width)."""
        for begin in range(first_step // self.height * self.height, self.steps, self.height):
            steps = min(self.height, self.steps - begin)
            generator = np.random.default_rng((self.seed, self.epoch, 0, lane, begin * self.width))
            yield generator.permutation(steps * self.width).reshape(steps, self.width)


def slots_of(
    slots: int, batch_size: int, *, world: int = 1, rank: int = 0, workers: int = 1, worker: int = 0
) -> list[range]:
    """The slots of a step that a worker fills: of each of its rank's batches a part.

    Batch i of rank r is part i * world + r of the step, so that batches of the same size are the same batches on any
    number of ranks.
    """
    first, last = (batch_size * number // workers for number in (worker, worker + 1))
    starts = range(rank * batch_size, slots, world * batch_size)
    return [range(start + first, start + last) for start in starts]


def train_steps(counts: Sequence[int], batch_size: int, world: int, accumulate: int = 1) -> int:
    """Batches of every rank in an epoch: whole optimizer steps, each of `accumulate` batches of every rank.

    The clips left out, less than a step has, change by epoch.
    """
    return sum(counts) // (batch_size * world * accumulate) * accumulate


def eval_steps(counts: Sequence[int], batch_size: int, world: int) -> int:
    """Batches of every rank, filler batches included."""
    return _ceil_div(_ceil_div(sum(counts), world), batch_size)


def eval_share(
    counts: Sequence[int], batch_size: int, *, world: int = 1, rank: int = 0, workers: int = 1, worker: int = 0
) -> list[Piece]:
    """What a worker reads in an evaluation, in order; all workers and ranks together read every sample once.

    PyTorch's DataLoader takes batches from its workers in turn, so that the batches of a rank alternate between its
    workers' stretches.
    """
    first, last = (sum(counts) * number // world for number in (rank, rank + 1))
    offset, batches = _run(_ceil_div(last - first, batch_size), workers, worker)
    start, stop = (min(first + number * batch_size, last) for number in (offset, offset + batches))
    return _cut(counts, list(range(len(counts))), start, stop - start)


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _run(batches: int, workers: int, worker: int) -> tuple[int, int]:
    """A worker's first batch and its number of batches, when each worker gets a contiguous run of them."""
    each, more = divmod(batches, workers)
    return worker * each + min(worker, more), each + (worker < more)


def _cut(counts: Sequence[int], order: list[int], start: int, length: int) -> list[Piece]:
    """`length` samples from `start` on, of the shards laid end to end in `order` and repeated."""
    ends = np.cumsum([counts[shard] for shard in order])
    start %= int(ends[-1])
    number = int(np.searchsorted(ends, start, side="right"))
    start -= int(ends[number]) - counts[order[number]]
    pieces = []
    while length:
        shard = order[number % len(order)]
        if stop := min(counts[shard] - start, length):
            pieces.append(Piece(shard, start, start + stop))
        length, start, number = length - stop, 0, number + 1
    return pieces
