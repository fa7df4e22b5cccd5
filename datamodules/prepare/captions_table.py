"""Captions in a CSV table: file_name (or id), then caption, or caption_1 to caption_5."""

import csv
import re
from pathlib import Path

from errors import InputError

ENDING = re.compile(r"\.(wav|flac|mp3|mp4|mkv|webm|mov)$", re.IGNORECASE)  # ids may hold other dots


def read_captions(path: Path) -> dict[str, list[str]]:
    """Captions by id, or by file name without its ending; several rows of one clip add up.

    Raises:
        InputError: no such file, not UTF-8, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"expected a CSV table of captions in {path}, found {error}; correct --captions") from None
    columns = [column for column in (rows[0] if rows else {}) if column]
    key = next((column for column in ("file_name", "id") if column in columns), None)
    texts = [column for column in columns if re.fullmatch(r"caption(_\d+)?", column)]
    if key is None or not texts:
        raise InputError(
            f"expected the columns file_name (or id) and caption (or caption_1, caption_2 ...) in {path}, "
            f"found {', '.join(columns) or 'no rows'}; rename them"
        )
    captions: dict[str, list[str]] = {}
    for row in rows:
        name = str(row[key]).strip()
        clip_id = ENDING.sub("", name) if key == "file_name" else name
        captions.setdefault(clip_id, []).extend(text.strip() for text in map(row.get, texts) if text and text.strip())
    return captions
