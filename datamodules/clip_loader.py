"""Loaders of a packed split: the same number of batches on every rank, made by worker processes.

A training batch is a function of the index, the order, the number of workers, the batch size and the window alone, so
that a run resumes from one integer, the position. These are not DataLoaders, which Lightning would rebuild.
"""

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

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
    replace_broken: bool = False  # a training batch has its size
    skip: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Item]:
        """Batches of the share of the worker that runs this."""
        worker = get_worker_info()
        samples = self._samples(self.shares[worker.id if worker else 0])
        try:
            while batch := list(islice(samples, self.batch_size)):
                yield self._decode(batch)
        except InputError as error:
            yield error

    def _samples(self, share: Share) -> Iterator[Sample]:
        pieces = ((self.shards[piece.shard], piece.start, piece.stop) for piece in share.pieces)
        samples = (sample for piece in pieces for sample in read_samples(*piece, self.reader.wanted))
        for window in share.windows:
            read = list(islice(samples, window.size))
            yield from (read[pick] for pick in window.picks if read[pick].record["id"] not in self.skip)
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
        if self.replace_broken:
            if not whole:
                raise InputError(
                    f"expected a readable clip in every batch, found none in one of {len(batch)}: {broken[0]}"
                )
            whole = [clip or whole[number % len(whole)] for number, clip in enumerate(clips)]
        return collate(whole) if whole else filler_batch(self.reader.clip_format), broken


def worker_signals(worker: int) -> None:
    """Leave the signals that stop a command to the main process, which ends the workers.

    SLURM sends SIGTERM to the workers too; the second one, of the main process to a worker that hangs, ends it.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, frame: signal.signal(signum, signal.SIG_DFL))


@dataclass(eq=False)
class ClipLoader(KeepsNoState):
    """What both loaders are given.

    Args:
        shards: of `read_index`.
        clip_format: what to decode.
        batch_size: clips of a batch of one rank.
        order: of the batches; in evaluation only its rank counts.
        num_workers: processes that read; 0 reads in this one.
        skip_broken: go on at a clip that cannot be decoded, with a warning: in training another one of its batch takes
            its place, in evaluation it is left out.

    Attributes:
        broken: what was wrong with each such clip.
    """

    shards: list[Shard]
    clip_format: ClipFormat
    batch_size: int
    order: BatchOrder = ALONE
    num_workers: int = 0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        self.broken: set[str] = set()
        self.counts = [shard.num_samples for shard in self.shards]

    def _batches(
        self,
        plan: Callable[..., Share],
        reader: ClipReader,
        first_step: int = 0,
        replace_broken: bool = False,
        skip: frozenset[str] = frozenset(),
    ) -> Iterator[ClipBatch]:
        """The batches of the rank that `plan` gives its workers."""
        workers = max(1, self.num_workers)
        shares = [
            plan(
                self.counts,
                self.batch_size,
                world=self.order.world_size,
                rank=self.order.rank,
                workers=workers,
                worker=(first_step + number) % workers,  # the DataLoader asks its worker 0 first
            )
            for number in range(workers)
        ]
        loader = DataLoader(
            ClipStream(self.shards, shares, reader, self.batch_size, self.skip_broken, replace_broken, skip),
            batch_size=None,
            num_workers=self.num_workers,
            worker_init_fn=worker_signals,
            generator=torch.Generator(),  # its own: each pass would draw a number from torch's generator
        )
        for item in loader:
            if isinstance(item, InputError):
                raise item
            batch, broken = item
            for message in broken:
                if message not in self.broken:
                    self.broken.add(message)
                    warnings.warn(f"left out a broken clip ({len(self.broken)} so far): {message}", stacklevel=2)
            yield batch


@dataclass(eq=False)
class TrainLoader(ClipLoader):
    """Training batches, reshuffled every epoch, as many on each rank.

    Args:
        window: clips are shuffled among this many neighbours.
        captions: by clip id, in place of the clips' own.

    Raises:
        InputError: too few clips for a batch.
    """

    window: int = 512
    captions: Mapping[str, list[str]] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self):
            raise InputError(
                f"expected at least {self.order.a_step(self.batch_size)} in {self.shards[0].path.parent}, found "
                f"{sum(self.counts)} clips; lower batch_size or global_batch_size"
            )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return train_steps(self.counts, self.batch_size, self.order.world_size, self.order.accumulate)

    def __iter__(self) -> Iterator[ClipBatch]:
        """As many batches as an epoch has, from the order's position on, which is read when the first is asked for.

        After a resume it goes on into the next epoch's batches unless the caller stops, as Lightning does.
        """
        yield from islice(self._from(self.order.position()), len(self))

    def _from(self, position: int) -> Iterator[ClipBatch]:
        """All batches of all epochs from `position` on."""
        first_epoch, first_step = divmod(position, len(self))
        for epoch in count(first_epoch):
            seed = self.order.seed
            plan = partial(
                train_share, seed=seed, epoch=epoch, window=self.window, first_step=first_step,
                accumulate=self.order.accumulate,
            )  # fmt: skip
            reader = ClipReader(self.clip_format, (seed, epoch), self.captions)
            yield from self._batches(plan, reader, first_step, replace_broken=True)
            first_step = 0


@dataclass(eq=False)
class EvalLoader(ClipLoader):
    """Every clip once over all ranks, in the order of the shards; filler batches give each rank as many.

    Args:
        skip: ids of clips to leave out.
    """

    skip: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """Batches, filler batches included."""
        return eval_steps(self.counts, self.batch_size, self.order.world_size)

    def __iter__(self) -> Iterator[ClipBatch]:
        """The rank's batches, then its filler batches."""
        given = 0
        for batch in self._batches(eval_share, ClipReader(self.clip_format), skip=self.skip):
            yield batch
            given += 1
        for _ in range(given, len(self)):
            yield filler_batch(self.clip_format)
