"""Shards that an index names and that are not there: how they are told, and how many a run may do without."""

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


def require_few(missing: list[LeftOut], clips: int) -> None:
    """Look how many clips the missing shards have, of so many.

    Raises:
        InputError: more than a tenth.
    """
    if (lacking := sum(each.clips for each in missing)) > MOST * clips:
        raise InputError(
            f"expected skip_broken to do without a tenth of {clips} clips at most, found shards of {lacking} missing, "
            f"such as: {missing[0].said}"
        )
