"""Loaders of a packed split: the same number of batches on every rank, made by worker processes.

A training batch is a function of (index, seed, world, rank, workers, batch size, window, position) alone, so
that a run resumes from one integer. These are not DataLoaders, which Lightning would take apart.
"""

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from datamodules.clip_reader import BrokenClip, Clip, ClipReader, collate, filler_batch
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.shards import Sample, Shard, read_samples
from datamodules.stream_plan import Share, eval_share, eval_steps, train_share, train_steps
from earshot.errors import InputError

Item = tuple[ClipBatch, list[str]] | InputError  # a batch and what was broken in it


class ClipStream(IterableDataset[Item]):
    """The batches of each worker's share; an InputError is yielded: raised, it would become a traceback."""

    def __init__(
        self,
        shards: list[Shard],
        shares: list[Share],
        reader: ClipReader,
        batch_size: int,
        skip_broken: bool = False,
        skip: frozenset[str] = frozenset(),
    ) -> None:
        self.shards = shards
        self.shares = shares
        self.reader = reader
        self.batch_size = batch_size
        self.skip_broken = skip_broken
        self.skip = skip

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


class TrainLoader:
    """Training batches, reshuffled every epoch, each rank the same number.

    Args:
        shards: of `read_index`.
        clip_format: what to decode.
        batch_size: clips of a batch of one rank.
        position: returns the number of batches that this rank has done, in all epochs; where a pass begins.
        skip_broken: replace clips that cannot be decoded by others of their batch, with a warning.
        captions: by clip id, instead of the clips' own.
    """

    def __init__(
        self,
        shards: list[Shard],
        clip_format: ClipFormat,
        batch_size: int,
        *,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        seed: int = 0,
        window: int = 512,
        skip_broken: bool = False,
        captions: Mapping[str, str | None] | None = None,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        self.shards = shards
        self.clip_format = clip_format
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.num_workers = num_workers
        self.seed = seed
        self.window = window
        self.skip_broken = skip_broken
        self.captions = captions
        self.position = position
        self.counts = [shard.num_samples for shard in shards]
        self.broken: set[str] = set()
        if not len(self):
            raise InputError(
                f"expected at least {batch_size * world} clips in {shards[0].path.parent}, a batch of "
                f"{batch_size} on each of {world} devices, found {sum(self.counts)}; lower batch_size"
            )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return train_steps(self.counts, self.batch_size, self.world)

    def __iter__(self) -> Iterator[ClipBatch]:
        """As many batches as an epoch has from `position` on, which is asked for with the first one.

        After a resume this runs into the next epoch's batches, unless, as Lightning does, one stops before.
        """
        steps = len(self)
        position = self.position()
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
                world=self.world,
                rank=self.rank,
                workers=workers,
                worker=(first_step + number) % workers,  # the DataLoader asks its worker 0 first
                seed=self.seed,
                epoch=epoch,
                window=self.window,
                first_step=first_step,
            )
            for number in range(workers)
        ]
        reader = ClipReader(self.clip_format, (self.seed, epoch), self.captions)
        return ClipStream(self.shards, shares, reader, self.batch_size, self.skip_broken)

    def _warn(self, broken: list[str]) -> None:
        for message in broken:
            if message not in self.broken:
                self.broken.add(message)
                warnings.warn(f"left out a broken clip ({len(self.broken)} so far): {message}", stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """Nothing, as the trainer has the position; Lightning warns of loaders without this."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class EvalLoader:
    """Every clip once over all ranks, in the order of the shards; fillers give each rank as many batches.

    Args:
        shards: of `read_index`.
        clip_format: what to decode.
        batch_size: clips of a batch of one rank.
        skip: ids of clips to leave out.
    """

    def __init__(
        self,
        shards: list[Shard],
        clip_format: ClipFormat,
        batch_size: int,
        *,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        skip: frozenset[str] = frozenset(),
    ) -> None:
        self.shards = shards
        self.clip_format = clip_format
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.num_workers = num_workers
        self.skip = skip
        self.counts = [shard.num_samples for shard in shards]

    def __len__(self) -> int:
        """Batches, fillers included."""
        return eval_steps(self.counts, self.batch_size, self.world)

    def __iter__(self) -> Iterator[ClipBatch]:
        """The rank's batches, then its fillers."""
        workers = max(1, self.num_workers)
        shares = [
            eval_share(self.counts, self.batch_size, world=self.world, rank=self.rank, workers=workers, worker=number)
            for number in range(workers)
        ]
        stream = ClipStream(self.shards, shares, ClipReader(self.clip_format), self.batch_size, skip=self.skip)
        given = 0
        for batch, _ in _run(stream, self.num_workers):
            yield batch
            given += 1
        for _ in range(given, len(self)):
            yield filler_batch(self.clip_format)
