"""A few captioned clips, drawn by the seed or listed by id, decoded once and held in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.batch_order import ALONE, BatchOrder, KeepsNoState
from datamodules.caption_table import read_captions
from datamodules.clip_reader import Clip, ClipReader, collate
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.kept_clips import by_clip
from datamodules.shards import Shard, read_samples
from earshot.errors import InputError


def drawn_clips(shards: list[Shard], clip_format: ClipFormat, number: int, seed: int) -> list[Clip]:
    """`number` clips of a split; a larger number adds clips to those of a smaller one.

    Raises:
        InputError: the split has fewer.
    """
    ends = np.cumsum([shard.num_samples for shard in shards])
    if not 1 <= number <= ends[-1]:
        raise InputError(
            f"expected num_pairs from 1 to {ends[-1]}, the clips in {shards[0].path.parent}, found {number}; correct it"
        )
    reader = ClipReader(clip_format)
    clips = []
    for place in np.random.default_rng(seed).permutation(int(ends[-1]))[:number]:
        shard = int(np.searchsorted(ends, place, side="right"))
        at = int(place - (ends[shard] - shards[shard].num_samples))
        clips += [reader.decode(sample) for sample in read_samples(shards[shard], at, at + 1, reader.wanted)]
    return [captioned(clip) for clip in clips]


def listed_clips(shards: list[Shard], clip_format: ClipFormat, table: Path) -> list[Clip]:
    """The clips that a CSV or JSON lists (`datamodules.caption_table`), with its captions where it has any.

    In a JSON file, YouTube ids mean clips as in a list of ids (`datamodules.kept_clips`).

    Raises:
        InputError: no such table, or an id that is not in the split.
    """
    captions = by_clip(read_captions(table, "correct data.pairs", required=False), shards, table)
    reader = ClipReader(clip_format)

    def wanted(record: dict[str, Any]) -> list[str]:
        return reader.wanted(record) if record["id"] in captions else []

    found: dict[str, Clip] = {}
    for shard in shards:
        for sample in read_samples(shard, 0, shard.num_samples, wanted):
            if given := captions.get(sample.record["id"]):
                sample.record["captions"] = given
            if sample.record["id"] in captions:
                found[sample.record["id"]] = reader.decode(sample)
        if len(found) == len(captions):
            break
    if missing := captions.keys() - found.keys():
        raise InputError(
            f"expected the clips of {table} in {shards[0].path.parent}, found {len(found)} of {len(captions)}, not "
            f"{min(missing)!r}; correct the table (a youtube_id stands for the clip Y<youtube_id>, a clip_id for "
            "itself), or name the split that has them"
        )
    return [captioned(found[clip_id]) for clip_id in captions]


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
