"""What the worker processes of a loader make of a packed split: batches, or parts of them, and what is not in these."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby, islice, repeat, takewhile

from torch.utils.data import IterableDataset, get_worker_info

from datamodules.clip_reader import BrokenClip, Clip, ClipReader, collate, filler_batch
from datamodules.clips import ClipBatch
from datamodules.lane_reader import read_lane
from datamodules.missing_shards import LeftOut, MissingShard
from datamodules.shards import Sample, Shard, read_samples, sample_ids
from datamodules.stream_plan import Piece, TrainPlan
from earshot.errors import InputError

NAMED = 3  # clips of a missing shard
Item = tuple[ClipBatch | None, list[LeftOut]] | InputError  # a batch, or a part of one, and what is not in it


class ClipStream(IterableDataset[Item]):
    """The items of each worker; yields an InputError, which raised in a worker would become a traceback."""

    def __iter__(self) -> Iterator[Item]:
        """Items of the worker that runs this."""
        worker = get_worker_info()
        try:
            yield from self.items(worker.id if worker else 0)
        except InputError as error:
            yield error

    def items(self, worker: int) -> Iterator[Item]:
        """Items of a worker."""
        raise NotImplementedError


@dataclass(eq=False)
class TrainStream(ClipStream):
    """Parts of the rank's batches from a step, and a batch of that step, on: `slots` of each worker, by batch."""

    shards: list[Shard]
    plan: TrainPlan
    slots: list[list[range]]
    reader: ClipReader
    first_step: int = 0
    first_batch: int = 0
    skip_broken: bool = False

    def items(self, worker: int) -> Iterator[Item]:
        """A part of each batch; None of a batch of which another worker fills all slots."""
        parts, width = self.slots[worker], self.plan.width
        slots = sorted(chain.from_iterable(parts))
        by_lane = [(lane, list(some)) for lane, some in groupby(slots, lambda slot: slot // width)]
        missing: list[LeftOut] = []

        def note(shard: Shard) -> None:
            said = f"expected the shard {shard.path}, found none; the next one takes its place"
            missing.append(LeftOut(said, shard.num_samples, shard=True))

        lanes = [
            read_lane(
                self.shards, self.plan, lane, [slot % width for slot in some], self.reader.wanted, self.first_step,
                note if self.skip_broken else None,
            )
            for lane, some in by_lane
        ]  # fmt: skip
        first = self.first_batch
        for samples in zip(*lanes) if lanes else repeat((), self.plan.steps - self.first_step):
            of_slot = dict(zip(slots, chain.from_iterable(samples)))
            for part in parts[first:]:
                decoded = [self._decode(of_slot[slot]) for slot in part]
                broken = [LeftOut(message) for _, messages in decoded for message in messages]
                yield (collate([clip for clip, _ in decoded]) if decoded else None), broken + missing
                missing.clear()
            first = 0

    def _decode(self, sample: Sample) -> tuple[Clip, list[str]]:
        """The clip, or the next one in its shard that can be decoded, and what was wrong with those before."""
        broken: list[str] = []
        for candidate in chain([sample], self._others(sample)):
            try:
                return self.reader.decode(candidate), broken
            except BrokenClip as error:
                if not self.skip_broken:
                    raise
                broken.append(str(error))
        raise InputError(f"expected a readable clip in every shard, found none of {len(broken)}: {broken[0]}")

    def _others(self, broken: Sample) -> Iterator[Sample]:
        """The clips after it in its shard, then those before it."""
        (shard,) = (shard for shard in self.shards if shard.path == broken.shard)
        for number in range(2):
            again = read_samples(shard, 0, shard.num_samples, self.reader.wanted)
            before = takewhile(lambda sample: sample.key != broken.key, again)
            if number:
                yield from before
            else:
                deque(before, maxlen=0)
                yield from again


@dataclass(eq=False)
class EvalStream(ClipStream):
    """Batches of the pieces of each worker, without the clips to skip."""

    shards: list[Shard]
    pieces: list[list[Piece]]
    reader: ClipReader
    batch_size: int
    skip_broken: bool = False
    skip: frozenset[str] = frozenset()

    def items(self, worker: int) -> Iterator[Item]:
        """Batches of a worker."""
        missing: list[LeftOut] = []
        samples = self._samples(self.pieces[worker], missing)
        while (batch := list(islice(samples, self.batch_size))) or missing:
            yield self._decode(batch, missing)
            missing.clear()

    def _samples(self, pieces: list[Piece], missing: list[LeftOut]) -> Iterator[Sample]:
        for piece in pieces:
            shard = self.shards[piece.shard]
            try:
                for sample in read_samples(shard, piece.start, piece.stop, self.reader.wanted):
                    if sample.record["id"] not in self.skip:
                        yield sample
            except MissingShard:
                if not self.skip_broken:
                    raise
                missing += [each for each in [left_out(shard, piece, self.skip)] if each.clips]

    def _decode(self, batch: list[Sample], missing: list[LeftOut]) -> Item:
        clips: list[Clip] = []
        broken = list(missing)
        for sample in batch:
            try:
                clips.append(self.reader.decode(sample))
            except BrokenClip as error:
                if not self.skip_broken:
                    raise
                broken.append(LeftOut(str(error)))
        return collate(clips) if clips else filler_batch(self.reader.clip_format), broken


def left_out(shard: Shard, piece: Piece, skip: frozenset[str]) -> LeftOut:
    """The clips of a missing shard that would have been read, by their ids where a file beside it has them."""
    try:
        ids = sample_ids(shard)
    except InputError:
        said = f"expected samples {piece.start} to {piece.stop - 1} in {shard.path}, found no such shard"
        return LeftOut(said, piece.stop - piece.start, shard=True)
    kept = range(shard.in_tar) if shard.kept is None else shard.kept
    named = [ids[number] for number in kept[piece.start : piece.stop] if ids[number] not in skip]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    said = f"expected {', '.join(named[:NAMED])}{more} in {shard.path}, found no such shard"
    return LeftOut(said, len(named), shard=True)
