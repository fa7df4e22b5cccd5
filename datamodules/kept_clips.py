"""Training on a part of a packed split that a list of ids names, such as DALI's 500,000 clips of AudioSet."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from datamodules.id_list import clips_meant, read_ids
from datamodules.shards import Shard, sample_ids
from earshot.errors import InputError


def kept_shards(shards: list[Shard], table: Path) -> list[Shard]:
    """The shards of a split with the clips that a file lists (`datamodules.id_list`); how many these are is printed.

    `datamodules.id_list.clips_meant` says which clip an id means.

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
