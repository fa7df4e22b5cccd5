"""Loaders of a packed split: the same number of batches on every rank, made by worker processes.

The clips of an optimizer step are a function of the index, the seed, the size of the step, the window and the step's
number alone, so that a run resumes from one integer, the position, on any number of devices with any number of workers.
These are not DataLoaders, which Lightning would rebuild.
"""

import atexit
import multiprocessing.util
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice

import torch
from torch.utils.data import DataLoader

from datamodules.batch_order import ALONE, BatchOrder, KeepsNoState
from datamodules.clip_reader import ClipReader, filler_batch, joined
from datamodules.clip_streams import ClipStream, EvalStream, TrainStream
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.dead_readers import read_by_others
from datamodules.missing_shards import LeftOut, leave_out
from datamodules.shards import Shard
from datamodules.stream_plan import TrainPlan, eval_share, eval_steps, slots_of, train_steps
from earshot.errors import InputError


def worker_signals(worker: int) -> None:
    """Leave the signals that stop a command to the main process, which ends the workers.

    SLURM sends SIGTERM to the workers too; the second one, of the main process to a worker that hangs, ends it.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, frame: signal.signal(signum, signal.SIG_DFL))


def warn_workers() -> None:
    """Send the workers of a process that ends the first SIGTERM, which `worker_signals` passes over: multiprocessing
    then sends one, and waits for each worker without a limit."""
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(0.2)


atexit.register(warn_workers)  # multiprocessing's own, registered at its import, runs later: the last one is first


@dataclass(eq=False)
class ClipLoader(KeepsNoState):
    """What both loaders are given.

    Args:
        shards: of `read_index`.
        clip_format: what to decode.
        batch_size: clips of a batch of one rank.
        order: of the batches; in evaluation only its rank counts.
        num_workers: processes that read; 0 reads in this one.
        skip_broken: go on at a clip that cannot be decoded, with a warning: in training the next one of its shard
            takes its place, in evaluation it is left out. Likewise at shards that are missing, of a tenth of the clips
            at most, with the next shard.

    Attributes:
        broken: each such clip or shard, by what was wrong with it.
    """

    shards: list[Shard]
    clip_format: ClipFormat
    batch_size: int
    order: BatchOrder = ALONE
    num_workers: int = 0
    skip_broken: bool = False

    def __post_init__(self) -> None:
        self.broken: dict[str, LeftOut] = {}
        self.counts = [shard.num_samples for shard in self.shards]

    @property
    def num_broken(self) -> int:
        """How many clips were left out, or replaced."""
        return sum(each.clips for each in self.broken.values())

    def _items(self, stream: ClipStream, num_workers: int, ahead: int = 2) -> Iterator[ClipBatch | None]:
        """What the workers make, in turn; each is at most so many items ahead."""
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=ahead if num_workers else None,
            worker_init_fn=worker_signals,
            generator=torch.Generator(),  # its own: each pass would draw a number from torch's generator
        )
        for item in read_by_others(loader) if num_workers else loader:
            if isinstance(item, InputError):
                raise item
            batch, broken = item
            for each in broken:
                leave_out(each, self.broken, sum(self.counts))
            yield batch


@dataclass(eq=False)
class TrainLoader(ClipLoader):
    """Training batches, reshuffled every epoch, as many on each rank.

    Args:
        window: clips are shuffled among this many neighbours, over all devices.
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
        order, size = self.order, self.batch_size
        num_workers = min(self.num_workers, size)  # each makes a part of every batch
        workers = max(1, num_workers)
        total = size * order.world_size * order.accumulate
        slots = [
            slots_of(total, size, world=order.world_size, rank=order.rank, workers=workers, worker=worker)
            for worker in range(workers)
        ]
        first_epoch, first = divmod(position, len(self))
        first_step, first_batch = divmod(first, order.accumulate)
        for epoch in count(first_epoch):
            plan = TrainPlan(self.counts, total, order.seed, epoch, self.window)
            reader = ClipReader(self.clip_format, (order.seed, epoch), self.captions)
            stream = TrainStream(self.shards, plan, slots, reader, first_step, first_batch, self.skip_broken)
            parts = self._items(stream, num_workers, ahead=2 * workers)
            while some := list(islice(parts, workers)):
                yield joined([part for part in some if part is not None])
            first_step = first_batch = 0


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
        workers = max(1, self.num_workers)
        pieces = [
            eval_share(
                self.counts, self.batch_size, world=self.order.world_size, rank=self.order.rank,
                workers=workers, worker=worker,
            )
            for worker in range(workers)
        ]  # fmt: skip
        reader = ClipReader(self.clip_format)
        stream = EvalStream(self.shards, pieces, reader, self.batch_size, self.skip_broken, self.skip)
        given = 0
        for batch in self._items(stream, self.num_workers):
            assert batch is not None
            yield batch
            given += 1
        for _ in range(given, len(self)):
            yield filler_batch(self.clip_format)
