"""A few captioned clips, drawn by the seed or listed by id, decoded once and held in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from datamodules.batch_order import ALONE, BatchOrder, KeepsNoState
from datamodules.caption_table import read_captions
from datamodules.clip_reader import BrokenClip, Clip, ClipReader, collate
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.kept_clips import by_clip
from datamodules.missing_shards import LeftOut, MissingShard, leave_out, missing
from datamodules.shards import Sample, Shard, read_samples
from earshot.errors import InputError


@dataclass
class _Decoder:
    """Decodes samples of a split; what cannot be read is left out with a warning, or ends the command."""

    reader: ClipReader
    num_clips: int
    skip_broken: bool
    broken: dict[str, LeftOut] = field(default_factory=dict)

    def clips(self, shard: Shard, samples: Iterator[Sample]) -> Iterator[Clip]:
        """The clips of some samples of a shard."""
        try:
            for sample in samples:
                try:
                    yield self.reader.decode(sample)
                except BrokenClip as error:
                    if not self.skip_broken:
                        raise
                    leave_out(LeftOut(str(error)), self.broken, self.num_clips)
        except MissingShard:
            if not self.skip_broken:
                raise
            leave_out(missing(shard.path, shard.num_samples), self.broken, self.num_clips)


def drawn_clips(
    shards: list[Shard], clip_format: ClipFormat, number: int, seed: int, skip_broken: bool = False
) -> list[Clip]:
    """`number` clips of a split; a larger number adds clips to those of a smaller one.

    With `skip_broken`, the next ones drawn take the places of clips that cannot be read.

    Raises:
        InputError: the split has fewer.
    """
    ends = np.cumsum([shard.num_samples for shard in shards])
    if not 1 <= number <= ends[-1]:
        raise InputError(
            f"expected num_pairs from 1 to {ends[-1]}, the clips in {shards[0].path.parent}, found {number}; correct it"
        )
    decoder = _Decoder(ClipReader(clip_format), int(ends[-1]), skip_broken)
    clips: list[Clip] = []
    for place in np.random.default_rng(seed).permutation(int(ends[-1])):
        if len(clips) == number:
            break
        shard = int(np.searchsorted(ends, place, side="right"))
        at = int(place - (ends[shard] - shards[shard].num_samples))
        clips += decoder.clips(shards[shard], read_samples(shards[shard], at, at + 1, decoder.reader.wanted))
    if len(clips) < number:
        raise InputError(
            f"expected {number} clips that can be read in {shards[0].path.parent}, found {len(clips)}; lower "
            "num_pairs, or take another split"
        )
    return [captioned(clip) for clip in clips]


def listed_clips(shards: list[Shard], clip_format: ClipFormat, table: Path, skip_broken: bool = False) -> list[Clip]:
    """The clips that a CSV or JSON lists (`datamodules.caption_table`), with its captions where it has any.

    In a JSON file, YouTube ids mean clips as in a list of ids (`datamodules.kept_clips`). With `skip_broken`, clips
    that cannot be read are left out.

    Raises:
        InputError: no such table, or an id that is not in the split.
    """
    captions = by_clip(read_captions(table, "correct data.pairs", required=False), shards, table, skip_broken)
    decoder = _Decoder(ClipReader(clip_format), sum(shard.num_samples for shard in shards), skip_broken)

    def wanted(record: dict[str, Any]) -> list[str]:
        return decoder.reader.wanted(record) if record["id"] in captions else []

    def listed(shard: Shard) -> Iterator[Sample]:
        for sample in read_samples(shard, 0, shard.num_samples, wanted):
            if (given := captions.get(sample.record["id"])) is not None:
                sample.record["captions"] = given or sample.record["captions"]
                yield sample

    found: dict[str, Clip] = {}
    for shard in shards:
        found |= {clip.clip_id: clip for clip in decoder.clips(shard, listed(shard))}
        if len(found) == len(captions):
            break
    absent = captions.keys() - found.keys()
    if absent and found and len(absent) <= sum(each.clips for each in decoder.broken.values()):
        rank_zero_info(f"{table}: {len(absent)} of {len(captions)} clips cannot be read, such as {min(absent)!r}")
    elif absent:
        raise InputError(
            f"expected the clips of {table} in {shards[0].path.parent}, found {len(found)} of {len(captions)}, not "
            f"{min(absent)!r}; correct the table (a youtube_id stands for the clip Y<youtube_id>, a clip_id for "
            "itself), or name the split that has them"
        )
    return [captioned(found[clip_id]) for clip_id in captions if clip_id in found]


def captioned(clip: Clip) -> Clip:
    """The clip; an InputError where it has no caption."""
    if not clip.captions:
        raise InputError(f"expected a caption of clip {clip.clip_id!r}, found none; take a captioned split")
    return clip


class FewShotLoader(KeepsNoState):
    """Batches of a few clips, in another order every epoch; ranks share a batch, and a single clip goes to every rank.

    Args:
        clips: all of them.
        batch_size: clips of a batch of one rank, fewer where there are not as many.
    """

    def __init__(self, clips: list[Clip], batch_size: int, order: BatchOrder = ALONE) -> None:
        self.clips = clips
        self.size = min(batch_size * order.world_size, len(clips))  # of all ranks' batches together
        self.order = order

    def __len__(self) -> int:
        """Batches of an epoch, of whole optimizer steps if the clips are enough; those left over change by epoch."""
        batches = len(self.clips) // self.size
        return batches // self.order.accumulate * self.order.accumulate or batches

    def __iter__(self) -> Iterator[ClipBatch]:
        """As many batches as an epoch has, from the order's position on."""
        rank, world_size = self.order.rank, self.order.world_size
        for step, rows in self.order.shuffled(len(self.clips), len(self)):
            picks = rows[step * self.size : (step + 1) * self.size]
            each = -(-self.size // world_size)
            picks = np.resize(picks, each * world_size)  # as many on each rank
            yield collate([self.clips[pick] for pick in picks[rank * each : (rank + 1) * each]])
