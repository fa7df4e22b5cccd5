"""Captions on disk: the CSV that tests write, and that scores and reports read."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.caption_table import read_rows
from datamodules.clips import CaptionRows
from earshot.atomic import atomic_path
from earshot.errors import InputError

COLUMNS = ("clip_id", "caption", "references", "labels", "cider_d")
FILE_NAME = "captions.csv"


class Clip(NamedTuple):
    """One line of a captions file."""

    clip_id: str
    caption: str
    references: list[str]
    labels: list[str]

    def cells(self) -> list[str]:
        """The cells of the line, without the score."""
        lists = (json.dumps(texts, ensure_ascii=False) for texts in (self.references, self.labels))
        return [self.clip_id, self.caption, *lists]


def clips_of(rows: CaptionRows) -> list[Clip]:
    """The clips of `rows`, one by one."""
    return list(map(Clip, rows["clip_ids"], rows["captions"], rows["references"], rows["labels"]))


def rows_of(clips: Sequence[Clip]) -> CaptionRows:
    """The clips as columns."""
    return CaptionRows(
        clip_ids=[clip.clip_id for clip in clips],
        captions=[clip.caption for clip in clips],
        references=[clip.references for clip in clips],
        labels=[clip.labels for clip in clips],
    )


def write_captions(path: Path, rows: CaptionRows, cider_d: Sequence[float | None] | None = None) -> None:
    """Write a captions file atomically; the column cider_d is empty where there is no score."""
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for index, clip in enumerate(clips_of(rows)):
            score = None if cider_d is None else cider_d[index]
            writer.writerow([*clip.cells(), "" if score is None else f"{score:.6f}"])


def captions_path(path: Path) -> Path:
    """The captions file that a path names: itself, or in a run folder, or in the newest finished test of a run name."""
    if not path.is_dir():
        return path
    scored = sorted(path.glob("test-*/scores.json"), key=lambda file: file.stat().st_mtime)
    return scored[-1].with_name(FILE_NAME) if scored else path / FILE_NAME


def read_captions(path: Path) -> CaptionRows:
    """Read the captions file that a path names (`captions_path`).

    The columns clip_id, caption and references (a JSON list of sentences) are required, labels is optional; encoding
    and separator are those of `datamodules.caption_table`.

    Raises:
        InputError: no such file, another of `read_rows`, a missing column, a cell that is not a list of texts, a
            repeated clip, no clip.
    """
    path = captions_path(path)
    if not path.is_file():
        raise InputError(f"expected a captions file at {path}, found none; run `test` first or check the path")
    rows = read_rows(path, "captions", "run `test` first or check the path")
    if absent := set(COLUMNS[:3]) - rows[0].keys():
        raise InputError(f"expected columns {', '.join(COLUMNS[:3])} in {path}, found no {min(absent)}; add it")
    clips = [
        Clip(
            row["clip_id"],
            row["caption"],
            *(_texts(row.get(key, ""), f"{path}, {key} of {row['clip_id']!r}") for key in ("references", "labels")),
        )
        for row in rows
    ]
    if repeated := len(clips) - len({clip.clip_id for clip in clips}):
        raise InputError(f"expected every clip once in {path}, found {repeated} rows that repeat a clip; remove them")
    return rows_of(clips)


def _texts(cell: str, where: str) -> list[str]:
    """The texts of a JSON list; none in an empty cell."""
    try:
        texts = json.loads(cell or "[]")
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f'expected a JSON list such as ["a dog barks"] in {where}, found {cell[:60]!r}; correct the cell'
        )
    return texts
