"""Loaders of a packed split: the same number of batches on every rank, made by worker processes.

A training batch is a function of the index, the order, the number of workers, the batch size and the window alone, so
that a run resumes from one integer, the position. These are not DataLoaders, which Lightning would rebuild.
"""

import signal
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from datamodules.batch_order import ALONE, BatchOrder, KeepsNoState
from datamodules.clip_reader import BrokenClip, Clip, ClipReader, collate, filler_batch
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.shards import Sample, Shard, read_samples
from datamodules.stream_plan import Share, eval_share, eval_steps, train_share, train_steps
from earshot.errors import InputError

Item = tuple[ClipBatch, list[str]] | InputError  # a batch and what was broken in it


@dataclass(eq=False)
class ClipStream(IterableDataset[Item]):
    """The batches of each worker's share; yields an InputError, which raised in a worker would become a traceback."""

    shards: list[Shard]
    shares: list[Share]
    reader: ClipReader
    batch_size: int
    skip_broken: bool = False
    skip: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Item]:
        """Batches of the share of the worker that runs this."""
        worker = get_worker_info()
        batch: list[Sample] = []
        try:
            share = self.shares[worker.id if worker else 0]
            for sample in self._samples(share):
                if sample.record["id"] in self.skip:
                    continue
                batch.append(sample)
                if len(batch) == self.batch_size:
                    yield self._decode(batch)
                    batch = []
            if batch:
                yield self._decode(batch)
        except InputError as error:
            yield error

    def _samples(self, share: Share) -> Iterator[Sample]:
        pieces = ((self.shards[piece.shard], piece.start, piece.stop) for piece in share.pieces)
        samples = (sample for piece in pieces for sample in read_samples(*piece, self.reader.wanted))
        for window in share.windows:
            read = [next(samples) for _ in range(window.size)]
            yield from (read[pick] for pick in window.picks)
        next(samples, None)  # to the end of the last shard, which checks its count

    def _decode(self, batch: list[Sample]) -> tuple[ClipBatch, list[str]]:
        clips: list[Clip | None] = []
        broken: list[str] = []
        for sample in batch:
            try:
                clips.append(self.reader.decode(sample))
            except BrokenClip as error:
                if not self.skip_broken:
                    raise
                clips.append(None)
                broken.append(str(error))
        whole = [clip for clip in clips if clip is not None]
        if not whole:
            raise InputError(f"expected a readable clip in every batch, found none in one of {len(batch)}: {broken[0]}")
        return collate([clip or whole[number % len(whole)] for number, clip in enumerate(clips)]), broken


def _worker_signals(worker: int) -> None:
    """Leave the signals of a requeue and of Ctrl-C to the main process, which ends the workers."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(item: Any) -> Any:
    return item


def _run(stream: ClipStream, num_workers: int) -> Iterator[tuple[ClipBatch, list[str]]]:
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_worker_signals,
        generator=torch.Generator(),  # its own: each pass would draw a number from torch's generator
    )
    for item in loader:
        if isinstance(item, InputError):
            raise item
        yield item


@dataclass(eq=False)
class TrainLoader(KeepsNoState):
    """Training batches, reshuffled every epoch, as many on each rank.

    Args:
        shards: of `read_index`.
        clip_format: what to decode.
        batch_size: clips of a batch of one rank.
        num_workers: processes that read; 0 reads in this one.
        window: clips are shuffled among this many neighbours.
        skip_broken: replace clips that cannot be decoded by others of their batch, with a warning.
        captions: by clip id, in place of the clips' own.

    Raises:
        InputError: too few clips for a batch.
    """

    shards: list[Shard]
    clip_format: ClipFormat
    batch_size: int
    order: BatchOrder = ALONE
    num_workers: int = 0
    window: int = 512
    skip_broken: bool = False
    captions: Mapping[str, list[str]] | None = None

    def __post_init__(self) -> None:
        self.counts = [shard.num_samples for shard in self.shards]
        self.broken: set[str] = set()
        if not len(self):
            size, world_size = self.batch_size, self.order.world_size
            raise InputError(
                f"expected at least {size * world_size} clips in {self.shards[0].path.parent}, a batch of {size} on "
                f"each of {world_size} devices, found {sum(self.counts)}; lower batch_size"
            )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return train_steps(self.counts, self.batch_size, self.order.world_size)

    def __iter__(self) -> Iterator[ClipBatch]:
        """As many batches as an epoch has, from the order's position on, which is read when the first is asked for.

        After a resume it goes on into the next epoch's batches unless the caller stops, as Lightning does.
        """
        steps = len(self)
        position = self.order.position()
        end = position + steps
        while position < end:
            epoch, first_step = divmod(position, steps)
            stream = self._stream(epoch, first_step)
            for batch, broken in _run(stream, self.num_workers):
                self._warn(broken)
                yield batch
                position += 1
                if position == end:
                    return

    def _stream(self, epoch: int, first_step: int) -> ClipStream:
        workers = max(1, self.num_workers)
        shares = [
            train_share(
                self.counts,
                self.batch_size,
                world=self.order.world_size,
                rank=self.order.rank,
                workers=workers,
                worker=(first_step + number) % workers,  # the DataLoader asks its worker 0 first
                seed=self.order.seed,
                epoch=epoch,
                window=self.window,
                first_step=first_step,
            )
            for number in range(workers)
        ]
        reader = ClipReader(self.clip_format, (self.order.seed, epoch), self.captions)
        return ClipStream(self.shards, shares, reader, self.batch_size, self.skip_broken)

    def _warn(self, broken: list[str]) -> None:
        for message in broken:
            if message not in self.broken:
                self.broken.add(message)
                warnings.warn(f"left out a broken clip ({len(self.broken)} so far): {message}", stacklevel=2)


@dataclass(eq=False)
class EvalLoader:
    """Every clip once over all ranks, in the order of the shards; filler batches give each rank as many.

    Args:
        shards: of `read_index`.
        clip_format: what to decode.
        batch_size: clips of a batch of one rank.
        order: of which only the rank counts.
        num_workers: processes that read; 0 reads in this one.
        skip: ids of clips to leave out.
    """

    shards: list[Shard]
    clip_format: ClipFormat
    batch_size: int
    order: BatchOrder = ALONE
    num_workers: int = 0
    skip: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.counts = [shard.num_samples for shard in self.shards]

    def __len__(self) -> int:
        """Batches, filler batches included."""
        return eval_steps(self.counts, self.batch_size, self.order.world_size)

    def __iter__(self) -> Iterator[ClipBatch]:
        """The rank's batches, then its filler batches."""
        workers, rank, world = max(1, self.num_workers), self.order.rank, self.order.world_size
        shares = [
            eval_share(self.counts, self.batch_size, world=world, rank=rank, workers=workers, worker=number)
            for number in range(workers)
        ]
        stream = ClipStream(self.shards, shares, ClipReader(self.clip_format), self.batch_size, skip=self.skip)
        given = 0
        for batch, _ in _run(stream, self.num_workers):
            yield batch
            given += 1
        for _ in range(given, len(self)):
            yield filler_batch(self.clip_format)
