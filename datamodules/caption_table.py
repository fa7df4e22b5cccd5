"""Captions by clip id, from a CSV: the pairs of a few-shot set, the pseudo-captions of a predict run."""

import csv
from pathlib import Path

from earshot.errors import InputError

ID_COLUMNS = ("clip_id", "id", "youtube_id")


def read_caption_table(path: Path, remedy: str) -> dict[str, str | None]:
    """Captions by id, None where there is no column of captions or its cell is empty.

    Args:
        path: with a column clip_id, id or youtube_id, and perhaps a column caption.
        remedy: what to do where there is no such file.

    Raises:
        InputError: no such file, no such column, no row, or an id twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"expected a CSV table of clips at {path}, found none ({found}); {remedy}") from None
    key = next((column for column in ID_COLUMNS if rows and column in rows[0]), None)
    if key is None:
        raise InputError(
            f"expected rows with a column clip_id, id or youtube_id in {path}, found none; correct the table"
        )
    captions = {str(row[key]).strip(): (row.get("caption") or "").strip() or None for row in rows}
    if len(captions) != len(rows):
        raise InputError(f"expected every id once in {path}, found {len(rows) - len(captions)} twice; remove them")
    return captions
