"""Captions on disk: the CSV that tests write, and that scores and reports read."""

import csv
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from datamodules.clips import CaptionRows
from datamodules.endings import ENDING
from earshot.atomic import atomic_path
from earshot.errors import InputError
from evaluation.field_forms import Fields, read_entries, text_of
from evaluation.reference_table import references_by_clip

COLUMNS = ("clip_id", "caption", "references", "labels", "cider_d")
FILE_NAME = "captions.csv"


class Clip(NamedTuple):
    """One line of a captions file."""

    clip_id: str
    caption: str
    references: list[str]
    labels: list[str]

    def cells(self) -> list[str]:
        """The cells of the line, without the score, and without NUL, with which no table is text."""
        lists = (json.dumps(texts, ensure_ascii=False) for texts in (self.references, self.labels))
        return [self.clip_id, self.caption.replace("\0", "�"), *lists]


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
    found = (file.with_name(FILE_NAME) for file in path.glob("test-*/scores.json"))
    scored = [file for file in found if file.is_file()]  # `earshot score` writes scores anew, and captions never
    return max(scored, key=lambda file: file.stat().st_mtime, default=path / FILE_NAME)


def read_captions(path: Path, table: Path | None = None) -> CaptionRows:
    """Read the captions file that a path names (`captions_path`).

    A CSV, whose encoding and separator are those of `datamodules.caption_table`, a JSON list (.json) or JSON Lines
    (.jsonl). What a column or key is called says what it is: the clip (clip_id, image_id, file_name, youtube_id), its
    caption (caption, caption_predicted), references (a list, or caption_1, caption_2 ...) and, where there are any,
    labels. So DCASE's submissions, aac-metrics' tables and COCO's results are read as they are.

    Args:
        path: the file.
        table: takes the references from there (`evaluation.reference_table`).

    Raises:
        InputError: no such file, another of `read_entries` or `Fields`, no references, a repeated clip, no clip.
    """
    path = captions_path(path)
    if not path.is_file():
        raise InputError(f"expected a captions file at {path}, found none; run `test` first or check the path")
    entries = read_entries(path, "correct the file, or name another")
    columns = [column for column in dict.fromkeys(chain.from_iterable(entries)) if column]
    fields = Fields(columns, path)
    if table is None and not (fields.references or fields.series):
        raise InputError(
            f"expected references in {path}, found the columns {', '.join(columns)}; add a column references, or name "
            "the table that has them, as in: earshot score FILE --references TABLE"
        )
    clips = []
    for number, row in enumerate(entries, start=1):
        clip_id = fields.clip_id(row, number)
        where = f"{path}, {{}} of {clip_id!r}"
        caption = text_of(row.get(fields.caption), where.format(fields.caption))
        labels = fields.texts(row, fields.labels, where.format("labels"))
        references = fields.references_of(row, where.format("references")) if table is None else []
        clips.append(Clip(clip_id, caption, references, labels))
    if repeated := len(clips) - len({clip.clip_id for clip in clips}):
        raise InputError(f"expected every clip once in {path}, found {repeated} rows that repeat a clip; remove them")
    return rows_of(clips) if table is None else _with_references(clips, table)


def _with_references(clips: Sequence[Clip], table: Path) -> CaptionRows:
    found = references_by_clip(table, [clip.clip_id for clip in clips])
    return rows_of([clip._replace(references=found.get(clip.clip_id, [])) for clip in clips])


def write_submission(path: Path, rows: CaptionRows) -> None:
    """Write captions as DCASE takes them: a CSV with the columns file_name, here <clip id>.wav, caption_predicted."""
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file_name", "caption_predicted"))
        names = (ENDING.sub("", clip_id) + ".wav" for clip_id in rows["clip_ids"])
        writer.writerows(zip(names, rows["captions"]))
