"""A few captioned clips, drawn by seed or listed by id: decoded once, held in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.caption_table import read_caption_table
from datamodules.clip_reader import Clip, ClipReader, collate
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.shards import Sample, Shard, read_samples
from earshot.errors import InputError


def drawn_clips(shards: list[Shard], clip_format: ClipFormat, number: int, seed: int) -> list[Clip]:
    """`number` clips of a split; those of a smaller number are among those of a larger one.

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
    """The clips whose ids a CSV lists, with its captions where it has a column of these.

    Raises:
        InputError: no such table, or an id that the split has not.
    """
    captions = read_caption_table(table, "correct data.pairs")
    reader = ClipReader(clip_format)

    def wanted(record: dict[str, Any]) -> list[str]:
        return reader.wanted(record) if record["id"] in captions else []

    found: dict[str, Clip] = {}
    for shard in shards:
        for sample in read_samples(shard, 0, shard.num_samples, wanted):
            if sample.record["id"] in captions:
                found[sample.record["id"]] = reader.decode(with_caption(sample, captions[sample.record["id"]]))
        if len(found) == len(captions):
            break
    if missing := captions.keys() - found.keys():
        raise InputError(
            f"expected the clips of {table} in {shards[0].path.parent}, found {len(found)} of {len(captions)}, not "
            f"{min(missing)!r}; correct the table, or name the split that has them"
        )
    return [captioned(found[clip_id]) for clip_id in captions]


def with_caption(sample: Sample, caption: str | None) -> Sample:
    """The sample with another caption than its own, where there is one."""
    if caption is not None:
        sample.record["captions"] = [caption]
    return sample


def captioned(clip: Clip) -> Clip:
    """The clip; an InputError where it has no caption."""
    if not clip.captions:
        raise InputError(f"expected a caption of clip {clip.clip_id!r}, found none; take a captioned split")
    return clip


class FewShotLoader:
    """Batches of a few clips in another order every epoch; ranks share a batch, a single clip is every rank's.

    Args:
        clips: all of them.
        batch_size: at most so many clips of one rank's batch.
        position: returns the number of batches that were done; where a pass begins.
    """

    def __init__(
        self,
        clips: list[Clip],
        batch_size: int,
        *,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        self.clips = clips
        self.size = min(batch_size * world, len(clips))  # of all ranks' batches together
        self.rank = rank
        self.world = world
        self.seed = seed
        self.position = position

    def __len__(self) -> int:
        """Batches of an epoch; what is left of the clips, less than a batch, changes by epoch."""
        return len(self.clips) // self.size

    def __iter__(self) -> Iterator[ClipBatch]:
        """As many batches as an epoch has, from `position` on."""
        first = self.position()
        for position in range(first, first + len(self)):
            epoch, step = divmod(position, len(self))
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.clips))
            picks = order[step * self.size : (step + 1) * self.size]
            picks = np.resize(picks, -(-self.size // self.world) * self.world)  # as many on each rank
            yield collate([self.clips[pick] for pick in picks[self.rank :: self.world]])
