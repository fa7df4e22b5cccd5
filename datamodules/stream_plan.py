"""Who reads which samples: plans made of the shards' sample counts alone, the same on every rank.

The shards of a split are laid end to end. Each worker of each rank reads a contiguous stretch of samples and yields
whole batches of it. PyTorch's DataLoader takes batches from its workers in turn, so that worker w of a rank makes the
rank's batches w, w + workers, w + 2 * workers, ...
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Piece:
    """Samples `start` to `stop` - 1 of shard number `shard`."""

    shard: int
    start: int
    stop: int


@dataclass(frozen=True)
class Window:
    """Read `size` samples, then yield those at `picks`, in that order."""

    size: int
    picks: Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Share:
    """What one worker reads and yields: the windows divide the samples of the pieces."""

    pieces: list[Piece]
    windows: list[Window]


def train_steps(counts: list[int], batch_size: int, world: int, accumulate: int = 1) -> int:
    """Batches of every rank in an epoch: whole optimizer steps, each of `accumulate` batches of every rank.

    The clips left out, less than a step has, change by epoch.
    """
    return sum(counts) // (batch_size * world * accumulate) * accumulate


def train_share(
    counts: list[int],
    batch_size: int,
    *,
    world: int = 1,
    rank: int = 0,
    workers: int = 1,
    worker: int = 0,
    seed: int = 0,
    epoch: int = 0,
    window: int = 512,
    first_step: int = 0,
    accumulate: int = 1,
) -> Share:
    """A worker's share of a training epoch: shuffled shards, a random beginning, samples shuffled in windows.

    Args:
        counts: samples in each shard.
        window: samples are shuffled among this many neighbours.
        first_step: the rank's batches before this one are left out.
        accumulate: batches of an optimizer step.
    """
    steps = train_steps(counts, batch_size, world, accumulate)
    offset, batches = _run(steps, workers, worker)
    done = len(range(worker, first_step, workers)) * batch_size
    start = (rank * steps + offset) * batch_size
    length = batches * batch_size
    if done >= length:
        return Share([], [])
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(counts)).tolist()
    start += int(generator.integers(sum(counts)))  # else an only shard's end is always left out
    past = done // window * window  # whole windows that need not be read
    windows = []
    for begin in range(past, length, window):
        size = min(window, length - begin)
        picks = np.random.default_rng((seed, epoch, rank, worker, begin)).permutation(size)
        windows.append(Window(size, picks[max(0, done - begin) :]))
    return Share(_cut(counts, order, start + past, length - past), windows)


def eval_steps(counts: list[int], batch_size: int, world: int) -> int:
    """Batches of every rank, filler batches included."""
    return _ceil_div(_ceil_div(sum(counts), world), batch_size)


def eval_share(
    counts: list[int], batch_size: int, *, world: int = 1, rank: int = 0, workers: int = 1, worker: int = 0
) -> Share:
    """A worker's share of an evaluation, in order; all workers and ranks together read every sample once."""
    first, last = (sum(counts) * number // world for number in (rank, rank + 1))
    offset, batches = _run(_ceil_div(last - first, batch_size), workers, worker)
    start, stop = (min(first + number * batch_size, last) for number in (offset, offset + batches))
    sizes = [min(batch_size, stop - begin) for begin in range(start, stop, batch_size)]
    pieces = _cut(counts, list(range(len(counts))), start, stop - start)
    return Share(pieces, [Window(size, range(size)) for size in sizes])


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _run(batches: int, workers: int, worker: int) -> tuple[int, int]:
    """A worker's first batch and its number of batches, when each worker gets a contiguous run of them."""
    each, more = divmod(batches, workers)
    return worker * each + min(worker, more), each + (worker < more)


def _cut(counts: list[int], order: list[int], start: int, length: int) -> list[Piece]:
    """`length` samples from `start` on, of the shards laid end to end in `order` and repeated."""
    pieces = []
    start %= sum(counts)
    number = 0
    while length:
        shard = order[number % len(order)]
        if start < counts[shard]:
            stop = min(start + length, counts[shard])
            pieces.append(Piece(shard, start, stop))
            length -= stop - start
        start = max(0, start - counts[shard])
        number += 1
    return pieces
