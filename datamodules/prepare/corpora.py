"""The tables of AudioSet, AudioCaps, Clotho and WavCaps as segments."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from datamodules.caption_table import YOUTUBE_IDS, read_captions, read_rows, the_column
from datamodules.endings import ENDING
from datamodules.prepare.segments import YOUTUBE_ID, Segment, youtube_names
from earshot.errors import InputError

CLASSES = "class_labels_indices.csv"
CLIP_SECONDS = 10.0  # of AudioCaps, as of AudioSet
REMEDY = "correct --table"
SUBSETS = {"fsd": "FreeSound", "bbc": "BBC_Sound_Effects", "sb": "SoundBible", "as": "AudioSet_SL"}  # WavCaps' files


def audioset(tables: Sequence[Path], classes: Path | None = None) -> list[Segment]:
    """AudioSet's lists of segments: `YTID, start_seconds, end_seconds, "/m/068hy,/m/07q6cd_"`, comments after #.

    Clip ids are Y<YouTube id>, as those of AudioCaps, whose clips are AudioSet's.

    Args:
        tables: balanced_train_segments.csv, unbalanced_train_segments.csv or eval_segments.csv, or several.
        classes: class_labels_indices.csv, which names the labels; by default that beside the first table.

    Raises:
        InputError: a table cannot be read, or has a label without a name.
    """
    classes = classes or tables[0].parent / CLASSES
    remedy = "give AudioSet's list of classes by --classes"
    names = {row["mid"]: row["display_name"] for row in _columns(classes, "classes", remedy, "mid", "display_name")}
    segments = []
    for table in tables:
        for number, line in enumerate(_lines(table), 1):
            if line.startswith("#") or not line.strip():
                continue
            cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
            if cells[0] == "YTID":
                continue
            try:
                youtube_id, start, end, mids = cells
                segment = (youtube_id, float(start), float(end) - float(start))
                labels = tuple(names[mid.strip()] for mid in mids.split(","))
            except ValueError:
                raise InputError(
                    f"expected YTID, start_seconds, end_seconds, positive_labels in line {number} of {table}, found "
                    f"{line.strip()!r}; {REMEDY}"
                ) from None
            except KeyError as error:
                raise InputError(
                    f"expected the name of the label {error} of line {number} of {table} in {classes}, found none; "
                    f"{remedy}"
                ) from None
            segments.append(_youtube(*segment, labels=labels))
    return segments


def audiocaps(tables: Sequence[Path]) -> list[Segment]:
    """AudioCaps' own table (audiocap_id,youtube_id,start_time,caption) or WavCaps' copy (file_name,caption).

    Clip ids are Y<YouTube id>. A copy has no start times: only files that are already cut can be packed by it.

    Raises:
        InputError: a table cannot be read, or has one YouTube id with two start times.
    """
    segments = []
    for table in tables:
        captions = read_captions(table, REMEDY)
        starts: dict[str, float] = {}
        rows = read_rows(table, "captions", REMEDY)
        key = the_column(list(rows[0]), YOUTUBE_IDS, table, "YouTube ids")
        begin = the_column(list(rows[0]), ("start_time",), table, "start times")
        for row in rows:
            if key is None or begin is None or row[begin] in ("", begin):
                continue
            clip_id, start = f"Y{row[key]}", _number(row[begin], table)
            if starts.setdefault(clip_id, start) != start:
                raise InputError(
                    f"expected one start_time for each youtube_id in {table}, found {starts[clip_id]:g} and {start:g} "
                    f"for {row[key]}; keep one of them"
                )
        for clip_id, texts in captions.items():
            if YOUTUBE_ID.fullmatch(clip_id[1:]) and clip_id[0] == "Y":
                segments.append(_youtube(clip_id[1:], starts.get(clip_id), CLIP_SECONDS, texts))
            else:  # a table of other names
                segments.append(Segment(clip_id, (clip_id,), None, CLIP_SECONDS, tuple(texts)))
    return segments


def clotho(tables: Sequence[Path]) -> list[Segment]:
    """Clotho's table (file_name,caption_1,...,caption_5); clips are whole files, ids their names without ending.

    Some names begin with a space, which unpacking may have lost.
    """
    return [
        Segment(clip_id, (clip_id, *{clip_id.strip()} - {clip_id}), captions=tuple(texts))
        for table in tables
        for clip_id, texts in read_captions(table, REMEDY).items()
    ]


def wavcaps(tables: Sequence[Path]) -> list[Segment]:
    """WavCaps' JSON files: {"num_captions_per_audio": 1, "data": [{"id": ..., "caption": ..., "duration": ...}]}.

    A clip is a whole file, called by its id. As numbers occur in several subsets, clip ids are `<subset>_<id>`, but
    for AudioSet_SL's, which are Y<YouTube id> as everywhere. The subset is the folder of the JSON in WavCaps' layout
    (FreeSound, BBC_Sound_Effects, SoundBible, AudioSet_SL), or else what the file's name (fsd_final.json) begins with.

    Raises:
        InputError: a table cannot be read.
    """
    segments = []
    for table in tables:
        subset = table.parent.name if table.parent.name in SUBSETS.values() else ""
        subset = subset or SUBSETS.get(table.stem.split("_")[0], table.stem)
        try:
            content = json.loads("".join(_lines(table)))
            for entry in content["data"] if isinstance(content, dict) else content:
                texts = entry["caption"]
                captions = (texts,) if isinstance(texts, str) else tuple(texts)
                name = ENDING.sub("", str(entry["id"]))
                if YOUTUBE_ID.fullmatch(name[1:]) and name[0] == "Y":
                    segments.append(Segment(name, youtube_names(name[1:]), None, None, captions, folder=subset))
                else:
                    segments.append(Segment(f"{subset}_{name}", (name,), None, None, captions, folder=subset))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'expected {{"data": [{{"id": ..., "caption": ...}}]}} in {table}, found: {error!r}; {REMEDY}'
            ) from None
    return segments


def _youtube(
    youtube_id: str, start: float | None, seconds: float, captions: Sequence[str] = (), labels: tuple[str, ...] = ()
) -> Segment:
    return Segment(f"Y{youtube_id}", youtube_names(youtube_id), start, seconds, tuple(captions), labels)


def _columns(path: Path, what: str, remedy: str, *columns: str) -> list[dict[str, str]]:
    rows = read_rows(path, what, remedy)
    if missing := [column for column in columns if column not in rows[0]]:
        raise InputError(f"expected a column {missing[0]} in {path}, found {', '.join(rows[0])}; {remedy}")
    return rows


def _number(text: str, path: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"expected seconds in the column start_time of {path}, found {text!r}; {REMEDY}") from None


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"expected a text file in {path}, found: {found}; correct the path") from None
    if not lines:
        raise InputError(f"expected lines in {path}, found an empty file; name another one")
    return lines
