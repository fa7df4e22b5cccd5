"""Which exports a run reads, and what those were made from: from a projector back to the encoder that began it."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from earshot.digests import path_digest

PROVENANCE = "provenance.json"  # of an export
MADE_FROM = "made_from"  # the key in it


def made_from(settings: object, *folders: Path) -> dict[str, Any]:
    """The exports that settings name, or files in them, and further folders of exports, by path.

    Each has its `digest` and, where its own note says so, its `costs` and what it was `made_from`, in the same form:
    the whole chain. An export is a folder with provenance.json; networks from elsewhere are none, and are left out.
    """
    named = (Path(text) for text in texts_of(settings))
    places = {place: None for path in (*folders, *named) for place in (path, path.parent) if is_export(place)}
    return {str(place): described(place) for place in sorted(places)}


def described(export: Path) -> dict[str, Any]:
    """The digest of an export, what it cost (`callbacks.costs`), and what it was made from."""
    try:
        note = json.loads((export / PROVENANCE).read_text(encoding="utf-8"))
        known = {key: note[key] for key in ("costs", MADE_FROM) if note.get(key)}
    except (ValueError, AttributeError):  # another file of that name
        known = {}
    return {"digest": path_digest(export), **known}


def is_export(path: Path) -> bool:
    """Whether a path is a folder of an export; False of texts that are no paths."""
    return os.path.isfile(path / PROVENANCE)  # unlike Path's, takes names that are too long


def texts_of(settings: object) -> Iterator[str]:
    """All texts in nested settings."""
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, Mapping):
        for each in settings.values():
            yield from texts_of(each)
    elif isinstance(settings, list | tuple):
        for each in settings:
            yield from texts_of(each)
