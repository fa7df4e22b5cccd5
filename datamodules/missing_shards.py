"""Shards that an index names and that are not there, and clips that cannot be decoded: how they are told, and how many
shards a run may do without."""

import warnings
from pathlib import Path
from typing import NamedTuple

from earshot.errors import InputError

MOST = 0.1  # of a split's clips; more are no accident


class MissingShard(InputError):
    """There is no such file, or nothing at such a URL; no sample of it has been given."""


class LeftOut(NamedTuple):
    """What a reader went on without.

    Attributes:
        said: the line of its error.
        clips: how many were left out, or replaced by others.
        shard: whether a shard is missing; otherwise a clip is broken.
    """

    said: str
    clips: int = 1
    shard: bool = False


def missing(tar: Path, clips: int) -> LeftOut:
    """A shard of so many clips that is not there, by words that do not depend on how it was looked for."""
    return LeftOut(f"expected the shard {tar}, found none; its clips are left out", clips, shard=True)


def leave_out(each: LeftOut, before: dict[str, LeftOut], clips: int) -> None:
    """Go on without it, with a warning where it is not among those `before`, by what was said; of so many clips in all.

    Raises:
        InputError: shards of more than a tenth are missing.
    """
    if each.said in before:
        return
    before[each.said] = each
    what = "missing shard" if each.shard else "broken clip"
    so_far = sum(one.clips for one in before.values())
    warnings.warn(f"left out a {what} ({so_far} clips so far): {each.said}", stacklevel=3)
    require_few([one for one in before.values() if one.shard], clips)


def require_few(shards: list[LeftOut], clips: int) -> None:
    """Look how many clips the missing shards have, of so many.

    Raises:
        InputError: more than a tenth.
    """
    if (lacking := sum(each.clips for each in shards)) > MOST * clips:
        raise InputError(
            f"expected skip_broken to do without a tenth of {clips} clips at most, found shards of {lacking} missing, "
            f"such as: {shards[0].said}"
        )
