"""Training on a part of a packed split that a list of ids names, such as DALI's 500,000 clips of AudioSet."""

from collections.abc import Collection
from dataclasses import replace
from itertools import chain
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from datamodules.id_list import clips_meant, read_ids
from datamodules.missing_shards import LeftOut, MissingShard, leave_out, missing
from datamodules.shards import Shard, sample_ids
from earshot.errors import InputError


def ids_by_shard(shards: list[Shard], skip_missing: bool = False) -> list[list[str]]:
    """The ids of all samples of each shard.

    Args:
        shards: of a split.
        skip_missing: there are none of shards of which neither tar nor ids are there; a warning names these.

    Raises:
        InputError: a shard cannot be read, or more than a tenth of the clips are missing.
    """
    ids: list[list[str]] = []
    told: dict[str, LeftOut] = {}
    for shard in shards:
        try:
            ids.append(sample_ids(shard))
        except MissingShard:
            if not skip_missing:
                raise
            leave_out(missing(shard.path, shard.in_tar), told, sum(each.in_tar for each in shards))
            ids.append([])
    return ids


def kept_shards(shards: list[Shard], table: Path, skip_missing: bool = False) -> list[Shard]:
    """The shards of a split with the clips that a file lists (`datamodules.id_list`); how many these are is printed.

    `datamodules.id_list.clips_meant` says which clip an id means.

    Raises:
        InputError: no such file, none of these forms, or no listed clip is in the split.
    """
    listed = read_ids(table)
    ids = ids_by_shard(shards, skip_missing)
    found = clips_meant(listed, chain.from_iterable(ids))
    clips, total, folder = set(found.values()), sum(map(len, ids)), shards[0].path.parent
    if absent := [name for name in listed if name not in found]:
        rank_zero_info(f"{table}: {len(absent)} of {len(listed)} ids are not in {folder}, such as {absent[0]!r}")
    if not clips:
        raise InputError(
            f"expected ids of clips in {folder}, such as {next(chain.from_iterable(ids))!r}, found none among the "
            f"{len(listed)} of {table}, such as {listed[0]!r}; correct data.ids, or name the split that has them"
        )
    rank_zero_info(f"{table}: training on {len(clips)} of {total} clips in {folder}")
    return shards_with(shards, clips, ids)


def shards_with(shards: list[Shard], clips: Collection[str], ids: list[list[str]] | None = None) -> list[Shard]:
    """The shards, reduced to the clips of these ids; those without one are left out. `ids` are those of all."""
    places = [tuple(at for at, name in enumerate(some) if name in clips) for some in ids or ids_by_shard(shards)]
    return [replace(shard, kept=kept) for shard, kept in zip(shards, places, strict=True) if kept]


def by_clip(
    captions: dict[str, list[str]], shards: list[Shard], table: Path, skip_missing: bool = False
) -> dict[str, list[str]]:
    """Captions of a JSON file by the ids of the clips that its YouTube ids mean; a CSV's stay as they are."""
    if table.suffix != ".json":
        return captions
    meant = clips_meant(captions, chain.from_iterable(ids_by_shard(shards, skip_missing)))
    return {meant.get(name, name): found for name, found in captions.items()}
