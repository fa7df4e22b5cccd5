"""A lane of a training epoch as one worker reads it: forwards, and of other workers' samples the JSON alone."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import chain, groupby, islice, tee
from typing import Any

import numpy as np

from datamodules.missing_shards import MissingShard
from datamodules.shards import Sample, Shard, read_samples
from datamodules.stream_plan import Piece, TrainPlan

Wanted = Callable[[dict[str, Any]], Collection[str]]


def read_lane(
    shards: list[Shard],
    plan: TrainPlan,
    lane: int,
    columns: list[int],
    wanted: Wanted,
    first_step: int = 0,
    missing: Callable[[Shard], object] | None = None,
) -> Iterator[list[Sample]]:
    """For each step from `first_step` on: the samples of these columns, slots of the lane counted from 0.

    A window is held undecoded. A resumed lane reads its window from the beginning. Where `missing` is given, it is told
    of shards that are missing, and the samples of the next one in the split take the place of each.

    Raises:
        MissingShard: `missing` is None, or no shard is there.
    """
    masked, used = tee(plan.windows(lane, first_step))
    own = np.isin(np.arange(plan.width), columns)
    mine = (bool(read) for picks in masked for read in own[np.argsort(picks, None) % plan.width])
    pieces = (_read(shards, piece, mine, wanted, missing) for piece in plan.pieces(lane, first_step))
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


def _read(
    shards: list[Shard],
    piece: Piece,
    mine: Iterator[bool],
    wanted: Wanted,
    missing: Callable[[Shard], object] | None,
) -> Iterator[Sample]:
    numbers = [number for number, read in zip(range(piece.start, piece.stop), mine) if read]
    for turn in range(len(shards)):
        shard = shards[(piece.shard + turn) % len(shards)]
        try:
            yield from _samples(shard, numbers, piece.stop, wanted)
            return
        except MissingShard:
            if missing is None or turn + 1 == len(shards):
                raise
            missing(shard)


def _samples(shard: Shard, numbers: list[int], stop: int, wanted: Wanted) -> Iterator[Sample]:
    """Those of these numbers, which go on at the shard's beginning when it ends."""
    kept, count = range(shard.in_tar) if shard.kept is None else shard.kept, shard.num_samples
    for turn, some in groupby(numbers, lambda number: number // count):
        of_turn = [kept[number % count] for number in some]
        end = min(stop - turn * count, count)
        reduced = replace(shard, kept=(*of_turn, *kept[end : end + 1]))  # to the next one, or to the end
        yield from read_samples(reduced, 0, len(of_turn), wanted)
