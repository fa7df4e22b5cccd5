"""A lane of a training epoch as one worker reads it: forwards, and of other workers' samples the JSON alone."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import chain, islice, tee
from typing import Any

import numpy as np

from datamodules.shards import Sample, Shard, read_samples
from datamodules.stream_plan import Piece, TrainPlan

Wanted = Callable[[dict[str, Any]], Collection[str]]


def read_lane(
    shards: list[Shard], plan: TrainPlan, lane: int, columns: list[int], wanted: Wanted, first_step: int = 0
) -> Iterator[list[Sample]]:
    """For each step from `first_step` on: the samples of these columns, slots of the lane counted from 0.

    A window is held undecoded. A resumed lane reads its window from the beginning.
    """
    masked, used = tee(plan.windows(lane, first_step))
    own = np.isin(np.arange(plan.width), columns)
    mine = (bool(read) for picks in masked for read in own[np.argsort(picks, None) % plan.width])
    pieces = (_read(shards[piece.shard], piece, mine, wanted) for piece in plan.pieces(lane, first_step))
    samples = chain.from_iterable(pieces)
    passed = first_step % plan.height  # steps of the first window that are done
    for picks in used:
        places = picks[:, columns]  # (steps, columns) in the window
        order = np.argsort(np.argsort(places, None)).reshape(places.shape)  # among those that are read
        read = list(islice(samples, places.size))
        for row in order[passed:].tolist():
            yield [read[place] for place in row]
        passed = 0
    next(samples, None)  # to the end of the last shard, which checks its count


def _read(shard: Shard, piece: Piece, mine: Iterator[bool], wanted: Wanted) -> Iterator[Sample]:
    kept = range(shard.in_tar) if shard.kept is None else shard.kept
    numbers = [kept[number] for number, read in zip(range(piece.start, piece.stop), mine) if read]
    if numbers:
        reduced = replace(shard, kept=(*numbers, *kept[piece.stop : piece.stop + 1]))  # to the next one, or to the end
        yield from read_samples(reduced, 0, len(numbers), wanted)
