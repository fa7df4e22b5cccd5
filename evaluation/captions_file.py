"""Captions on disk: the CSV that evaluation writes, scoring and reports read; references out of shards."""

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from datamodules.clips import CaptionRows
from datamodules.shards import read_index, read_samples
from earshot.errors import InputError

COLUMNS = ("clip_id", "caption", "references", "labels", "cider_d")
FILE_NAME = "captions.csv"


def empty_rows() -> CaptionRows:
    """Rows of no clip."""
    return CaptionRows(clip_ids=[], captions=[], references=[], labels=[])


def csv_lines(rows: CaptionRows, cider_d: Sequence[float] | None = None) -> Iterable[list[str]]:
    """The cells of each row; an empty one where there is no score."""
    clips = zip(rows["clip_ids"], rows["captions"], rows["references"], rows["labels"], strict=True)
    for index, (clip_id, caption, references, labels) in enumerate(clips):
        score = "" if cider_d is None else f"{cider_d[index]:.6f}"
        lists = (json.dumps(texts, ensure_ascii=False) for texts in (references, labels))
        yield [clip_id, caption, *lists, score]


def write_captions(path: Path, rows: CaptionRows, cider_d: Sequence[float] | None = None) -> None:
    """Write a captions file, replacing what is there at one blow."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(csv_lines(rows, cider_d))
    os.replace(partial, path)


def captions_path(path: Path) -> Path:
    """The captions file meant by a path: itself, the run folder's, or that of a run name's newest finished test."""
    if not path.is_dir():
        return path
    scored = sorted(path.glob("test-*/scores.json"), key=lambda file: file.stat().st_mtime)
    return scored[-1].with_name(FILE_NAME) if scored else path / FILE_NAME


def read_captions(path: Path) -> CaptionRows:
    """Read a captions file, the one in a run folder, or that of the newest test of a run name (runs/<run_name>).

    The columns clip_id, caption and references (a JSON list of sentences) must be there, labels may be.

    Raises:
        InputError: no such file, a missing column, a cell that is not a list of texts, a clip twice, no clip.
    """
    path = captions_path(path)
    if not path.is_file():
        raise InputError(f"expected a captions file at {path}, found none; run `test` first or check the path")
    rows = empty_rows()
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if absent := set(COLUMNS[:3]) - set(reader.fieldnames or []):
            raise InputError(f"expected columns {', '.join(COLUMNS[:3])} in {path}, found no {min(absent)}")
        for line in reader:
            rows["clip_ids"].append(line["clip_id"])
            rows["captions"].append(line["caption"] or "")
            for key in ("references", "labels"):
                rows[key].append(_texts(line.get(key) or "[]", f"{path}, line {reader.line_num}, {key}"))
    if not rows["clip_ids"]:
        raise InputError(f"expected captions in {path}, found none; run the evaluation that writes it again")
    if doubles := len(rows["clip_ids"]) - len(set(rows["clip_ids"])):
        raise InputError(f"expected every clip once in {path}, found {doubles} rows of clips that stand there already")
    return rows


def _texts(cell: str, where: str) -> list[str]:
    try:
        texts = json.loads(cell)
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f'expected a JSON list such as ["a dog barks"] in {where}, found {cell[:60]!r}')
    return texts


def read_split(folder: Path) -> CaptionRows:
    """The ids, references and labels of a split folder's shards; captions are empty, no media are read.

    Raises:
        InputError: no index, or a shard that cannot be read.
    """
    rows = empty_rows()
    for shard in read_index(folder):
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
            rows["clip_ids"].append(sample.record["id"])
            rows["captions"].append("")
            rows["references"].append(sample.record["captions"])
            rows["labels"].append(sample.record["labels"])
    return rows
