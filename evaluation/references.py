"""Clips with references are scored; those without are named, and keep their captions."""

from collections.abc import Sequence

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from earshot.terminal import printable
from evaluation.captions_file import clips_of, rows_of

NAMED = 3  # at most this many clips are named


def with_references(rows: CaptionRows) -> tuple[CaptionRows, list[str]]:
    """The clips that have a reference, without blank ones among others, and the ids of the other clips.

    Raises:
        InputError: none has.
    """
    clips = [clip._replace(references=list(filter(str.strip, clip.references))) for clip in clips_of(rows)]
    found = [clip for clip in clips if clip.references]
    if clips and not found:
        raise InputError(
            f"expected reference captions, found none for {len(clips)} clips such as {clips[0].clip_id!r}; use "
            "`predict` for clips without references, or name a table of them: earshot score FILE --references TABLE"
        )
    return rows_of(found), [clip.clip_id for clip in clips if not clip.references]


def not_scored(without_references: Sequence[str], num_clips: int) -> str:
    """One line on the clips without references beside those that are scored."""
    number = len(without_references)
    more = f" and {number - NAMED} more" if number > NAMED else ""
    return (
        f"not scored: {number} of {number + num_clips} clips, which have no references: "
        f"{', '.join(map(printable, without_references[:NAMED]))}{more}"
    )
