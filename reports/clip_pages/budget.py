"""What a page may weigh: 25 MB of text, sounds, images and plans together. What matters least is left out, and said."""

from dataclasses import asdict, replace
from pathlib import Path

from jinja2.utils import htmlsafe_json_dumps

from earshot.atomic import write_text
from reports.clip_pages.document import Document, render

LIMIT = 25_000_000  # bytes of the file
SPARE = 2_000  # of them, for the sentences on what was left out


def write(path: Path, document: Document) -> Path:
    """Write the page, whole or not at all; what is no character, such as half of a surrogate pair, becomes a ?."""
    write_text(path, render(within_budget(document)).encode("utf-8", "replace").decode("utf-8"))
    return path


def within_budget(document: Document) -> Document:
    """The page as far as the limit allows, of what matters most: each time of the first clips of `order`.

    Captions and scores come first, then sound, spectrogram and frame, then how clips were captioned, such as plans.
    """
    order = document.order
    bare = [replace(clip, media=None, details={}) for clip in document.clips]
    empty = _bytes(replace(document, clips=[], random=[]))
    rows = {place: _size(asdict(bare[place])) for place in order}
    room = LIMIT - SPARE - empty
    listed = _fitting(order, rows, room)
    room -= sum(rows[place] for place in listed)
    media = {place: _size(asdict(found)) for place in listed if (found := document.clips[place].media)}
    heard = _fitting(list(media), media, room)
    room -= sum(media[place] for place in heard)
    details = {place: _size(clip.details) for place in listed if (clip := document.clips[place]).details}
    told = _fitting(list(details), details, room)
    for place in heard:
        bare[place] = replace(bare[place], media=document.clips[place].media)
    for place in told:
        bare[place] = replace(bare[place], details=document.clips[place].details)
    places = {place: number for number, place in enumerate(sorted(listed))}
    return replace(
        document,
        clips=[bare[place] for place in places],
        random=[places[place] for place in document.random if place in places],
        embedded=" ".join(filter(None, (document.embedded, *_sentences(document, len(listed), len(heard), len(told))))),
    )


def _sentences(document: Document, listed: int, with_media: int, told: int) -> list[str]:
    """What the page holds, and what did not fit."""
    total, limit = len(document.clips), f"{LIMIT / 1e6:g} MB"
    found = []
    if with_media:
        found.append(
            f"Sound and frame of {with_media} of {total} clips are in this file: in turn one drawn at random, one of "
            "the worst and one of the best by the first score."
        )
    if left := document.chosen - with_media if with_media else 0:
        found.append(f"Those of {left} more were chosen and left out: the file would be larger than {limit}.")
    if left := sum(bool(clip.details) for clip in document.clips) - told:
        found.append(f"How {left} clips were captioned is left out, for the same reason.")
    if left := total - listed:
        found.append(
            f"{left} clips are not listed, because their captions alone would make the file larger than {limit}; the "
            "captions file has them."
        )
    return found


def _fitting(places: list[int], sizes: dict[int, int], room: int) -> list[int]:
    """As many of the first as there is room for."""
    for number, place in enumerate(places):
        room -= sizes[place]
        if room < 0:
            return places[:number]
    return places


def _size(value: object) -> int:
    """Characters of a value in the page's JSON, which is ASCII."""
    return len(htmlsafe_json_dumps(value)) + 2


def _bytes(document: Document) -> int:
    return len(render(document).encode("utf-8", "replace"))
