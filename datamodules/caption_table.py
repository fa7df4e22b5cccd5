"""The one reader of CSV tables: captions by clip id, in the layouts of the public corpora, of `predict`, and of users.

What is unmistakable is read, the rest is refused in one line:

- *Encoding*: UTF-8 with or without a byte order mark, UTF-16 with one. Other bytes are read as Windows-1252, which
  holds Latin-1's letters, where they make words of Western European languages; that is printed with such a word.
- *Separator*: the comma, semicolon or tab that the first line has. Where it has several, the one that gives every line
  as many cells as the first.
- *Columns*: names count without case, spaces, underscores and hyphens. One column names the clip, and one, or a
  numbered series, has captions; `clip_id` and `caption` come before all other names, which must be the only ones.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datamodules.conversations import read_conversations
from datamodules.endings import ENDING
from earshot.errors import InputError

IDS = ("clip_id", "id")  # audiocap_id numbers captions, not clips
YOUTUBE_IDS = ("youtube_id", "ytid")
FILES = (
    "file_name", "file", "file_path", "path", "audio", "audio_file", "audio_file_name", "audio_path", "wav", "wav_file",
    "sound", "sound_file", "clip", "clip_name",
)  # fmt: skip
TEXTS = ("caption", "captions", "text", "description", "sentence", "raw_caption")
LIST = re.compile(r"\[\s*['\"].*\]", re.DOTALL)
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LETTERS = "À-ÖØ-öø-ÿŒœŠšŽžŸ"  # of Windows-1252, beyond ASCII
OF_OTHER_ENCODINGS = re.compile(  # a sign that no text has, three such letters in a row, a capital after a small one
    rf"\0|[^\x00-\x7f{LETTERS}‘’“”„–—…«»°´£€\xa0]|[{LETTERS}]{{3}}|[a-zß-öø-ÿ][À-ÖØ-ÞŒŠŽŸ]"
)


def read_captions(path: Path, remedy: str = "correct the path", required: bool = True) -> dict[str, list[str]]:
    """Captions by clip id, in the order of the table; captions in several rows of one clip add up.

    The id of a row is its clip_id or id as it is, its file name without the ending, or Y<youtube_id>, as WavCaps' copy
    of AudioCaps names its files. Spaces count: some names in Clotho begin with one. Rows that repeat the header are
    left out.

    Args:
        path: of a table with one column of `IDS`, `FILES` or `YOUTUBE_IDS`, and captions in a column of `TEXTS`, or in
            a series such as caption_1, caption_2 ...; or of a JSON file of conversations (`read_conversations`).
        remedy: what to do where there is no such file.
        required: whether the table must have a column of captions; without one it lists each clip once.

    Raises:
        InputError: by `read_rows`; a column is missing, or several may be meant; a cell holds a list of captions; a
            table without captions lists a clip twice.
    """
    if path.suffix == ".json":
        return read_conversations(path, remedy)
    rows = read_rows(path, "captions", remedy)
    columns = [column for column in rows[0] if column]
    key = the_column(columns, (*IDS, *FILES, *YOUTUBE_IDS), path, "the clip's name")
    text = the_column([re.sub(r"[\s_-]*\d+$", "", column) for column in columns], TEXTS, path, "captions")
    texts = [column for column in columns if text and re.fullmatch(rf"{re.escape(plain(text))}\d*", plain(column))]
    if key is None or (required and not texts):
        raise InputError(
            f"expected a column clip_id, file_name, youtube_id or id"
            f"{', and caption or caption_1, caption_2 ...,' * required} in {path}, found {', '.join(columns)}; rename "
            "the columns, or add the line of their names"
        )
    captions: dict[str, list[str]] = {}
    for row in rows:
        name = row[key]
        if name == key:  # tables that were put one after the other
            continue
        clip_id = name
        if plain(key) in map(plain, FILES):
            clip_id = ENDING.sub("", name)
        elif plain(key) in map(plain, YOUTUBE_IDS):
            clip_id = f"Y{name}"
        if not texts and clip_id in captions:
            raise InputError(f"expected every id once in {path}, found {name!r} twice; remove one of its rows")
        found = [text for column in texts if (text := row[column].strip())]
        if several := next(filter(LIST.fullmatch, found), None):
            raise InputError(
                f"expected one caption in a cell of {path}, found a list for {name!r}: {several[:60]}; write each "
                "caption into a row, or into a column caption_1, caption_2 ..."
            )
        captions.setdefault(clip_id, []).extend(found)
    return captions


def plain(column: str) -> str:
    """A column's name without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_-]+", "", column).casefold()


def the_column(columns: Sequence[str], names: Sequence[str], path: Path, what: str) -> str | None:
    """The column that has one of these names, or none; the first name comes before the others.

    Raises:
        InputError: several columns may be meant.
    """
    known = list(map(plain, names))
    found = {plain(column): column for column in columns if plain(column) in known}
    if len(found) > 1 and known[0] not in found:
        raise InputError(
            f"expected one column of {what} in {path}, found {' and '.join(found.values())}; remove or rename all but "
            "one of them"
        )
    return found.get(known[0]) or next(iter(found.values()), None)


def read_rows(path: Path, what: str, remedy: str) -> list[dict[str, str]]:
    """The rows of a CSV, by column; `what` it holds and the `remedy` where it is missing are for messages.

    Rows without any text, such as Excel writes, are left out, also above the columns' names.

    Raises:
        InputError: no such file; an encoding or a separator that is not clear; a quote that is not closed, or one
            inside a quoted cell that is not doubled; no row; a column twice; a line with more or fewer cells than the
            first.
    """
    columns: list[str] = []
    rows = []
    begin = 1  # the row's first line
    try:
        text = decoded(path, what)
        mark = separator(text, path, what)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        for cells in reader:
            filled = any(map(str.strip, cells))
            if filled and not columns:
                columns = cells
            elif filled and len(cells) != len(columns):
                raise InputError(
                    f"expected {len(columns)} cells in line {reader.line_num} of {path}, found "
                    f"{'more' if len(cells) > len(columns) else 'fewer'}; put {what} that hold {SEPARATORS[mark]} in "
                    "quotes"
                )
            elif filled:
                rows.append(dict(zip(columns, cells)))
            begin = reader.line_num + 1
    except OSError as error:
        raise InputError(f"expected a CSV table of {what} in {path}, found: {error.strerror}; {remedy}") from None
    except csv.Error as error:
        raise InputError(
            f"expected whole cells in the row from line {begin} of {path}, found: {error}; close its quotes, and write "
            "those inside a cell twice"
        ) from None
    if repeated := [name for name, count in Counter(map(plain, columns)).items() if name and count > 1]:
        twice = " and ".join(column for column in columns if plain(column) == repeated[0])
        raise InputError(f"expected every column once in {path}, found {twice}; remove or rename one of them")
    if not rows:
        raise InputError(f"expected {what} in {path}, found no row below its first line; name another table")
    return rows


def decoded(path: Path, what: str) -> str:
    """The text of a table; one read as Windows-1252 is printed.

    Raises:
        InputError: another encoding.
    """
    data = path.read_bytes()
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    try:
        text = data.decode(marked or "utf-8")
        sign = re.search("\0", text)  # of UTF-16 without its mark
    except UnicodeDecodeError as error:
        text = data.decode("cp1252", errors="replace")  # whose sign for what it has not is one of another encoding, too
        sign = re.compile("").search(text, error.start) if marked else OF_OTHER_ENCODINGS.search(text)
        if sign is None:
            shown = re.findall(r"\w*[^\x00-\x7f]\w*", text)[0]
            print(f"{path}: not UTF-8, read as Windows-1252 (Latin-1), as in {shown!r}", flush=True)
    if sign:
        raise InputError(
            f"expected a table of {what} in UTF-8 or Windows-1252 in {path}, found another encoding in line "
            f"{text.count(chr(10), 0, sign.start()) + 1}; save it as UTF-8, as by: iconv -f ENCODING -t UTF-8"
        )
    return text


def separator(text: str, path: Path, what: str) -> str:
    """The comma, semicolon or tab between the cells; the comma where there is one column.

    Raises:
        InputError: the first line has several, and not one alone gives each line as many cells.
    """
    first = next(filter(str.strip, text.splitlines()), "")
    found = [mark for mark in SEPARATORS if len(next(csv.reader([first], delimiter=mark), [])) > 1]
    if len(found) < 2:
        return found[0] if found else ","
    even = []
    for mark in found:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        if len({len(cells) for cells in lines if cells}) == 1:
            even.append(mark)
    if len(even) != 1:
        raise InputError(
            f"expected one separator between the columns of {path}, found {' and '.join(SEPARATORS[m] for m in found)} "
            f"in its first line: {first[:60]!r}; put names and {what} that hold them in quotes"
        )
    return even[0]
