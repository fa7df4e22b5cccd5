"""Captions in a CSV table, in the layouts that AudioCaps, its copy in WavCaps, and Clotho come in."""

import csv
import re
from pathlib import Path

from earshot.errors import InputError

ENDING = re.compile(r"\.(wav|flac|mp3|mp4|mkv|webm|mov)$", re.IGNORECASE)  # ids may hold other dots
KEYS = ("clip_id", "file_name", "youtube_id", "id")  # audiocap_id is of a caption, not of a clip


def read_captions(path: Path) -> dict[str, list[str]]:
    """Captions by id, or by file name without its ending; several rows of one clip add up.

    Of AudioCaps' official tables, youtube_id becomes `Y<youtube_id>`, the name of the file in its copies. File names
    are taken as they are: some of Clotho's begin with a space. A row that repeats the header is left out.

    Raises:
        InputError: no such file, not UTF-8, a column is missing, or a line has more or fewer cells than the first.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(
                        f"expected {len(reader.fieldnames or ())} cells in line {reader.line_num} of {path}, found "
                        f"{'more' if None in row else 'fewer'}; put captions that hold commas in quotes"
                    )
                rows.append(row)
    except UnicodeDecodeError:
        raise InputError(
            f"expected a table in UTF-8 in {path}, found another encoding (Clotho's metadata are in ISO-8859-1, and "
            "hold no captions); name a table of captions, or convert it: iconv -f ISO-8859-1 -t UTF-8"
        ) from None
    except (OSError, csv.Error) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"expected a CSV table of captions in {path}, found: {found}; correct the path") from None
    if not rows:
        raise InputError(f"expected captions in {path}, found no row below its first line; name another table")
    columns = [column for column in rows[0] if column]
    key = next((column for column in KEYS if column in columns), None)
    texts = [column for column in columns if re.fullmatch(r"caption(_\d+)?", column)]
    if key is None or not texts:
        raise InputError(
            f"expected the columns file_name (or youtube_id, clip_id, id) and caption (or caption_1, caption_2 ...) in "
            f"{path}, found {', '.join(columns)}; rename them, or add the line of their names"
        )
    captions: dict[str, list[str]] = {}
    for row in rows:
        name = str(row[key])
        if name == key:  # tables that were put one after the other
            continue
        clip_id = {"file_name": ENDING.sub("", name), "youtube_id": f"Y{name}"}.get(key, name)
        captions.setdefault(clip_id, []).extend(text.strip() for text in map(row.get, texts) if text and text.strip())
    return captions
