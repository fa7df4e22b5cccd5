"""Captions files in the field's forms, as rows: DCASE's submission, aac-metrics' CSV, COCO's results, JSON Lines."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datamodules.caption_table import FILES, IDS, YOUTUBE_IDS, plain, read_rows, the_column
from datamodules.endings import ENDING
from earshot.errors import InputError

CAPTIONS = ("caption_predicted", "caption", "prediction", "candidate", "text")
CLIP_IDS = (*IDS, "image_id", *FILES, *YOUTUBE_IDS)
SERIES = re.compile(r"(caption|reference)s?\d+")  # of a column's plain name: caption_1, caption_2 ...


class Fields:
    """The columns of a table of captions: which names the clip, has its caption, its references, its labels.

    Args:
        columns: their names.
        path: of the table, for errors.
        captions: what the captions' column may be called; the first name comes before the others, which must be alone.

    Raises:
        InputError: no caption, no name of the clip, or several that may be meant.
    """

    def __init__(self, columns: Sequence[str], path: Path, captions: Sequence[str] = CAPTIONS) -> None:
        self.path = path
        names = {plain(column): column for column in columns}
        caption = the_column(columns, captions, path, "the caption")
        # COCO's annotations have an id beside the image's
        clips = [column for column in columns if not ("imageid" in names and plain(column) == "id")]
        clip = the_column(clips, CLIP_IDS, path, "the clip's name")
        series = sorted(filter(SERIES.fullmatch, names), key=lambda name: (len(name), name))
        self.series = [names[name] for name in series]
        self.references = names.get("references") or names.get("captionreferences")
        self.labels = names.get("labels")
        for column, name, others in (
            (caption, "caption", "caption_predicted"),
            # aac-metrics' table names no clips, and has their references beside them
            (clip or (self.series and "the row's number"), "clip_id", "file_name, image_id or youtube_id"),
        ):
            if not column:
                raise InputError(
                    f"expected a column {name}, or {others}, in {path}, found no {name} among "
                    f"{', '.join(columns)}; name the column, or add the line of names"
                )
        self.caption, self.clip = str(caption), clip

    def clip_id(self, row: dict[str, Any], number: int) -> str:
        """The clip of a row: its id, its file's name without the ending, Y<YouTube id>, or the row's number."""
        if self.clip is None:
            return str(number)
        name = row.get(self.clip)
        if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
            raise InputError(
                f"expected the clip's name in {self.clip} of entry {number} in {self.path}, found {name!r}; correct it"
            )
        if plain(self.clip) in map(plain, FILES):
            return ENDING.sub("", text_of(name, f"{self.path}, entry {number}"))
        return text_of(f"Y{name}" if plain(self.clip) in map(plain, YOUTUBE_IDS) else str(name), str(self.path))

    def texts(self, row: dict[str, Any], column: str | None, where: str) -> list[str]:
        """The texts in a column: a list, or one written in JSON; of None none."""
        cell = row.get(column) if column else None
        if cell in (None, ""):
            return []
        if isinstance(cell, str):
            with suppress(ValueError, RecursionError):  # else it stays a text
                cell = json.loads(cell)
        if not isinstance(cell, list) or not all(isinstance(text, str) for text in cell):
            raise InputError(
                f'expected a JSON list such as ["a dog barks"] in {where}, found {str(row[str(column)])[:60]!r}; '
                "correct it"
            )
        return [text_of(text, where) for text in cell]

    def references_of(self, row: dict[str, Any], where: str) -> list[str]:
        """The references of a row: a list, or a text in each column of a series, of which some may be empty."""
        if self.references:
            return self.texts(row, self.references, where)
        return [text_of(text, where) for column in self.series if (text := row.get(column))]


def text_of(found: Any, where: str) -> str:
    """`found`, where it is a text that can be written.

    Raises:
        InputError: another kind of value, or half of a character (a lone surrogate), which JSON can hold.
    """
    if not isinstance(found, str):
        raise InputError(f"expected a text in {where}, found {str(found)[:60]!r}; correct it")
    try:
        found.encode()
    except UnicodeEncodeError as error:
        half = found[error.start : error.end].encode("unicode_escape").decode()
        raise InputError(f"expected whole characters in {where}, found {half}, half of one; correct it") from None
    return found


def read_entries(path: Path, remedy: str) -> list[dict[str, Any]]:
    """The rows of a CSV, the objects of a JSON list or of JSON Lines; at least one.

    COCO's results are such a list, and its annotations, in an object under that name, another.

    Raises:
        InputError: no such file, or another form.
    """
    suffix = path.suffix.lower()
    if suffix not in (".json", ".jsonl"):
        return list(read_rows(path, "captions", remedy))
    try:
        text = path.read_text(encoding="utf-8-sig")
        if suffix == ".jsonl":
            entries = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            entries = json.loads(text)
            entries = entries.get("annotations", entries) if isinstance(entries, dict) else entries
    except (OSError, ValueError, RecursionError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"expected captions in JSON in {path}, found: {found}; {remedy}") from None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(
            f'expected JSON objects such as {{"clip_id": "a", "caption": "a dog barks"}} in {path}, found '
            f"{'none' if entries in ([], '') else 'other values'}; correct the file"
        )
    return entries
