"""Captions on disk: the CSV that tests write, and that scores and reports read."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from datamodules.clips import CaptionRows
from earshot.atomic import atomic_path
from earshot.errors import InputError

COLUMNS = ("clip_id", "caption", "references", "labels", "cider_d")
FILE_NAME = "captions.csv"


def empty_rows() -> CaptionRows:
    """Rows of no clip."""
    return CaptionRows(clip_ids=[], captions=[], references=[], labels=[])


def csv_lines(rows: CaptionRows, cider_d: Sequence[float] | None = None) -> Iterator[list[str]]:
    """The cells of each row; the last one is empty where there is no score."""
    clips = zip(rows["clip_ids"], rows["captions"], rows["references"], rows["labels"], strict=True)
    for index, (clip_id, caption, references, labels) in enumerate(clips):
        score = "" if cider_d is None else f"{cider_d[index]:.6f}"
        lists = (json.dumps(texts, ensure_ascii=False) for texts in (references, labels))
        yield [clip_id, caption, *lists, score]


def write_captions(path: Path, rows: CaptionRows, cider_d: Sequence[float] | None = None) -> None:
    """Write a captions file atomically."""
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(csv_lines(rows, cider_d))


def captions_path(path: Path) -> Path:
    """The captions file that a path names: itself, or in a run folder, or in the newest finished test of a run name."""
    if not path.is_dir():
        return path
    scored = sorted(path.glob("test-*/scores.json"), key=lambda file: file.stat().st_mtime)
    return scored[-1].with_name(FILE_NAME) if scored else path / FILE_NAME


def read_captions(path: Path) -> CaptionRows:
    """Read the captions file that a path names (`captions_path`).

    The columns clip_id, caption and references (a JSON list of sentences) are required, labels is optional.

    Raises:
        InputError: no such file, a missing column, a cell that is not a list of texts, a repeated clip, no clip.
    """
    path = captions_path(path)
    if not path.is_file():
        raise InputError(f"expected a captions file at {path}, found none; run `test` first or check the path")
    rows = empty_rows()
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if absent := set(COLUMNS[:3]) - set(reader.fieldnames or []):
            raise InputError(f"expected columns {', '.join(COLUMNS[:3])} in {path}, found no {min(absent)}; add it")
        for line in reader:
            rows["clip_ids"].append(line["clip_id"])
            rows["captions"].append(line["caption"] or "")
            rows["references"].append(_texts(line["references"], f"{path}, line {reader.line_num}, references"))
            rows["labels"].append(_texts(line.get("labels"), f"{path}, line {reader.line_num}, labels"))
    if not rows["clip_ids"]:
        raise InputError(f"expected captions in {path}, found none; run the test that writes it again")
    if repeated := len(rows["clip_ids"]) - len(set(rows["clip_ids"])):
        raise InputError(f"expected every clip once in {path}, found {repeated} rows that repeat a clip; remove them")
    return rows


def _texts(cell: str | None, where: str) -> list[str]:
    """The texts of a JSON list; none in an empty cell."""
    try:
        texts = json.loads(cell or "[]")
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f'expected a JSON list such as ["a dog barks"] in {where}, found {(cell or "")[:60]!r}')
    return texts
