"""Training on a part of a packed split that a list of ids names, such as DALI's 500,000 clips of AudioSet."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from datamodules.caption_table import ENDING
from datamodules.id_list import read_ids
from datamodules.shards import Shard, sample_ids
from earshot.errors import InputError

VIDEO = re.compile(r"Y?([\w-]{11})((?:_\d+(?:\.\d+)?){0,2})", re.ASCII)  # [Y]<id>[_<start>[_<end>]]


def kept_shards(shards: list[Shard], table: Path) -> list[Shard]:
    """The shards of a split with the clips that a file lists (`datamodules.id_list`); how many these are is printed.

    An id means the clip of exactly this id. Where there is none, the ending of a media file is left out, and two ids
    of YouTube's form, 11 letters, digits, - or _, mean the same clip with and without a Y before them and _<start> or
    _<start>_<end> after them: `--abcDEF-_0`, `Y--abcDEF-_0.wav` and `Y--abcDEF-_0_30.000`. Starts are seconds or
    milliseconds; two different ones are two different clips. An id that would mean several clips means none.

    Raises:
        InputError: no such file, none of these forms, or no listed clip is in the split.
    """
    listed = read_ids(table)
    ids = [sample_ids(shard) for shard in shards]
    found = clips_meant(listed, (clip_id for some in ids for clip_id in some))
    clips, total, folder = set(found.values()), sum(map(len, ids)), shards[0].path.parent
    if absent := [name for name in listed if name not in found]:
        rank_zero_info(f"{table}: {len(absent)} of {len(listed)} ids are not in {folder}, such as {absent[0]!r}")
    if not clips:
        raise InputError(
            f"expected ids of clips in {folder}, such as {ids[0][0]!r}, found none among the {len(listed)} of {table}, "
            f"such as {listed[0]!r}; correct data.ids, or name the split that has them"
        )
    rank_zero_info(f"{table}: training on {len(clips)} of {total} clips in {folder}")
    return shards_with(shards, clips)


def shards_with(shards: list[Shard], clips: Collection[str]) -> list[Shard]:
    """The shards, reduced to the clips of these ids; those without one are left out."""
    places = [tuple(at for at, name in enumerate(sample_ids(shard)) if name in clips) for shard in shards]
    return [replace(shard, kept=kept) for shard, kept in zip(shards, places, strict=True) if kept]


def by_clip(captions: dict[str, list[str]], shards: list[Shard], table: Path) -> dict[str, list[str]]:
    """Captions of a JSON file by the ids of the clips that its YouTube ids mean; a CSV's stay as they are."""
    if table.suffix != ".json":
        return captions
    meant = clips_meant(captions, (clip_id for shard in shards for clip_id in sample_ids(shard)))
    return {meant.get(name, name): found for name, found in captions.items()}


def clips_meant(listed: Iterable[str], clip_ids: Iterable[str]) -> dict[str, str]:
    """The clip that each listed id means, for those that mean one (`kept_shards`)."""
    known = set(clip_ids)
    found: dict[str, str] = {}
    others: dict[str, Video] = {}  # listed names of which there is no clip
    for name in listed:
        plain = ENDING.sub("", name)
        if name in known or plain in known:
            found[name] = name if name in known else plain
        elif video := Video.of(plain):
            others[name] = video
    clips: dict[str, list[str]] = {video.id: [] for video in others.values()}  # of each video
    if clips:
        for clip_id in known:
            if (match := VIDEO.fullmatch(clip_id)) and match[1] in clips:
                clips[match[1]].append(clip_id)
    for name, video in others.items():
        meant = [clip_id for clip_id in clips[video.id] if video.may_be(Video.of(clip_id))]
        if len(meant) == 1:
            found[name] = meant[0]
    return found


@dataclass(frozen=True)
class Video:
    """A YouTube id, and where in the video a clip starts, in seconds or milliseconds, where that is said."""

    id: str
    start: float | None

    @classmethod
    def of(cls, name: str) -> "Video | None":
        """What a name of this form says; None for another name."""
        if not (match := VIDEO.fullmatch(name)):
            return None
        start = match[2].strip("_").partition("_")[0]
        return cls(match[1], float(start) if start else None)

    def may_be(self, other: "Video | None") -> bool:
        """Whether two names of one video can mean the same clip."""
        if other is None or self.start is None or other.start is None:
            return True
        return self.start in (other.start, other.start * 1000) or other.start == self.start * 1000
