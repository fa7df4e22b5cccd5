"""The one reader of CSV tables: captions by clip id, in the layouts of AudioCaps, WavCaps, Clotho and `predict`."""

import csv
import re
from pathlib import Path

from earshot.errors import InputError

KEYS = ("clip_id", "file_name", "youtube_id", "id")  # audiocap_id numbers captions, not clips
ENDING = re.compile(r"\.(wav|flac|mp3|mp4|mkv|webm|mov)$", re.IGNORECASE)  # ids may hold other dots


def read_captions(path: Path, remedy: str = "correct the path", required: bool = True) -> dict[str, list[str]]:
    """Captions by clip id, in the order of the table; captions in several rows of one clip add up.

    The id of a row is its clip_id or id, its file_name without the ending, or Y<youtube_id>, as WavCaps' copy of
    AudioCaps names its files. Ids are taken as they are: some names in Clotho begin with a space. Rows that repeat the
    header are left out.

    Args:
        path: of a table with one of the columns above, and captions in a column caption or in caption_1, caption_2 ...
        remedy: what to do where there is no such file.
        required: whether the table must have a column of captions; without one it lists each clip once.

    Raises:
        InputError: no such file, not UTF-8, a column is missing, a line has more or fewer cells than the first, or a
            table without captions lists a clip twice.
    """
    rows = read_rows(path, "captions", remedy)
    columns = [column for column in rows[0] if column]
    key = next((column for column in KEYS if column in columns), None)
    texts = [column for column in columns if re.fullmatch(r"caption(_\d+)?", column)]
    if key is None or (required and not texts):
        raise InputError(
            f"expected a column {', '.join(KEYS[:-1])} or {KEYS[-1]}"
            f"{', and caption or caption_1, caption_2 ...,' * required} in {path}, found {', '.join(columns)}; rename "
            "the columns, or add the line of their names"
        )
    captions: dict[str, list[str]] = {}
    for row in rows:
        name = row[key]
        if name == key:  # tables that were put one after the other
            continue
        clip_id = {"file_name": ENDING.sub("", name), "youtube_id": f"Y{name}"}.get(key, name)
        if not texts and clip_id in captions:
            raise InputError(f"expected every id once in {path}, found {name!r} twice; remove one of its rows")
        captions.setdefault(clip_id, []).extend(text for column in texts if (text := row[column].strip()))
    return captions


def read_rows(path: Path, what: str, remedy: str) -> list[dict[str, str]]:
    """The rows of a CSV in UTF-8, by column; `what` it holds and the `remedy` where it is missing are for messages.

    Raises:
        InputError: no such file, another encoding, no row, or a line with more or fewer cells than the first.
    """
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(
                        f"expected {len(reader.fieldnames or ())} cells in line {reader.line_num} of {path}, found "
                        f"{'more' if None in row else 'fewer'}; put {what} that hold commas in quotes"
                    )
                rows.append(row)
    except UnicodeDecodeError:
        raise InputError(
            f"expected a table in UTF-8 in {path}, found another encoding; name a table of {what} (Clotho's metadata, "
            "in ISO-8859-1, hold none), or convert it: iconv -f ISO-8859-1 -t UTF-8"
        ) from None
    except (OSError, csv.Error) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"expected a CSV table of {what} in {path}, found: {found}; {remedy}") from None
    if not rows:
        raise InputError(f"expected {what} in {path}, found no row below its first line; name another table")
    return rows
