"""The rows of a report: ROW=RUN[,RUN...] arguments, and the captions of their runs in one order of clips."""

import argparse
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from math import isfinite
from pathlib import Path

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.captions_file import captions_path, clips_of, read_captions, rows_of
from evaluation.references import not_scored, with_references
from evaluation.scores import TITLES
from evaluation.scores_file import read_score, with_scores

METAVAR = "[ROW=]RUN[,RUN...]"


def add_rows(parser: argparse.ArgumentParser, metavar: str = METAVAR, name: str = "a row's name") -> None:
    """The argument that names the rows."""
    what = (
        "its run: a run folder, runs/<run_name> (the newest test in it) or a captions file; several, with commas "
        "between them, are training runs of one method"
    )
    parser.add_argument(
        "runs", nargs="+", metavar=metavar, help=f"{name} (that of the run where it has none), and {what}"
    )


def parse_rows(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """For each row the captions files of its runs.

    Raises:
        InputError: an argument of another form, a name or a run given twice.
    """
    rows: dict[str, list[Path]] = {}
    for argument in arguments:
        name, _, runs = argument.partition("=")
        if not runs and Path(argument).exists():
            name, runs = run_name(Path(argument)), argument
        if not (name and all(runs.split(","))):
            raise InputError(
                f"expected ROW=RUN or ROW=RUN1,RUN2, found {argument!r}; name the row, as in "
                "aligned=runs/dali_ot/test-1"
            )
        if name in rows:
            raise InputError(f"expected every row once, found {name!r} twice; give them different names")
        rows[name] = [captions_path(Path(run)) for run in runs.split(",")]
        if len({path.resolve() for path in rows[name]}) < len(rows[name]):
            raise InputError(f"expected every run once, found a run twice in {argument!r}; name each once")
    return rows


def numbers_of(names: Sequence[str]) -> list[float]:
    """The numbers that rows are called by.

    Raises:
        InputError: a name that is none, or two rows of one number.
    """
    try:
        found = [float(name) for name in names]
    except ValueError:
        found = []
    if len(set(found)) < len(names) or not all(map(isfinite, found)):
        raise InputError(
            f"expected different, finite numbers, as in 0.06=runs/guided_0.06, found {', '.join(names)}; correct them"
        )
    return found


def files_read(rows: Mapping[str, Sequence[Path]]) -> list[Path]:
    """The captions files of all rows, and their scores."""
    return [file for path in chain(*rows.values()) for file in with_scores(path)]


def run_name(run: Path) -> str:
    """What a row is called that has no name: as its run is, or its file."""
    folder = run.resolve() if run.is_dir() else run.resolve().with_suffix("")
    if folder.name == "captions":
        folder = folder.parent
    return folder.parent.name if re.fullmatch(r"test-\w+", folder.name) else folder.name


def read_scores(rows: Mapping[str, Sequence[Path]], key: str, advice: str) -> dict[str, list[float]]:
    """For each row a score of its runs, out of their scores.json.

    Raises:
        InputError: a run without it.
    """
    found: dict[str, list[float]] = {row: [] for row in rows}
    for row, path in ((row, path) for row, paths in rows.items() for path in paths):
        value = read_score(path, key)
        if value is None:
            raise InputError(f"expected metric {TITLES.get(key, key)} in {path.parent}, found none; {advice}")
        found[row].append(value)
    return found


def read_runs(rows: Mapping[str, Sequence[Path]]) -> dict[str, list[CaptionRows]]:
    """Read the captions of every row, of the clips that have references, in the same order; the others are printed.

    The references of a clip may stand in any order. Rows are to be scored with those of the first: METEOR's program
    chooses among equally good ones by their order.

    Raises:
        InputError: runs whose clips with references, or whose references, differ; or without references.
    """
    runs: dict[str, list[CaptionRows]] = {row: [] for row in rows}
    first, first_name = None, ""
    for row, path in ((row, path) for row, paths in rows.items() for path in paths):
        name = row if len(rows[row]) == 1 else f"{row}: {path}"
        found, without = with_references(read_captions(path))
        if without and first is None:
            print(not_scored(without, len(found["clip_ids"])))
        found = _in_order(found, first["clip_ids"] if first else sorted(found["clip_ids"]), name, first_name)
        if first is None:
            first, first_name = found, name
        if list(map(sorted, found["references"])) != list(map(sorted, first["references"])):
            raise InputError(
                f"expected the same references in {first_name!r} and {name!r}, found others; test both again"
            )
        runs[row].append(found)
    return runs


def _in_order(rows: CaptionRows, clip_ids: Sequence[str], row: str, first: str) -> CaptionRows:
    clips = {clip.clip_id: clip for clip in clips_of(rows)}
    if different := clips.keys() ^ set(clip_ids):
        raise InputError(
            f"expected the same clips in every run, found {len(different)} that only one of {first!r} and "
            f"{row!r} has; test both on the same split, with the same --data.max_clips"
        )
    return rows_of([clips[clip_id] for clip_id in clip_ids])
