"""The page of several runs on the same clips: their captions side by side, and paired differences clip by clip."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.scores import TITLES
from evaluation.scores_file import read_scores
from reports.clip_pages.budget import write
from reports.clip_pages.document import Column, Document, Table
from reports.clip_pages.of_run import LOW_IS_GOOD, ORDER, add_media, clip_rows, config_of
from reports.clip_pages.sample import chosen, drawn
from reports.origin import origin
from reports.table import Measured

SHOWN = 3  # columns of differences
Scores = dict[str, float]  # of a column, by clip id


def write_comparison(
    path: Path,
    title: str,
    paths: Mapping[str, Sequence[Path]],
    runs: Mapping[str, Sequence[CaptionRows]],
    found: Measured,
    headings: Mapping[str, str],
    notes: Sequence[str],
    against: str,
    clips: int,
    command: Sequence[str],
) -> Path:
    """Write the page.

    Args:
        path: HTML file.
        title: heading.
        paths: for each row its captions files; the clips show those of the first.
        runs: what these hold.
        found: the rows' table and metrics.
        headings: titles of the table's columns.
        notes: on the table.
        against: the row that differences are taken from.
        clips: how many get sound and image.
        command: that compares.
    """
    rows = next(iter(runs.values()))[0]
    columns, scores = columns_of(runs, found, against, rows["clip_ids"])
    clips_found = clip_rows(rows, [group[0]["captions"] for group in runs.values()], scores)
    first = [scores[0].get(clip_id) if scores else None for clip_id in rows["clip_ids"]]
    order = chosen(first, len(clips_found))
    embedding = "There is no sound or image on this page."
    for file in (file for group in paths.values() for file in group):  # the first that knows where its clips are
        try:
            made_by = read_scores(file).get("made_by") or {}
        except InputError:
            continue
        embedding = add_media(clips_found, order[:clips], made_by, config_of(file.parent), None)
        if any(clip.media for clip in clips_found):
            break
    grid = [[headings.get(key, key) for key in found.lines[0]]]
    grid += [[str(cell) for cell in line.values()] for line in found.lines]
    if len(runs) > 1:
        notes = [*notes, f"Differences are paired, clip by clip: the row's score minus that of {against}."]
    if any(len(group) > 1 for group in runs.values()):
        notes = [*notes, "The clips show the first training run of each row."]
    facts = f"{len(rows['clip_ids'])} clips · {', '.join(runs)}"
    entries = [entry.partition(": ") for entry in (*found.measured, *origin(command))]
    return write(
        path,
        Document(
            title=title,
            subtitle=facts,
            headline=[],
            table=Table("Scores of all rows", grid[0], grid[1:]),
            notes=notes,
            systems=list(runs),
            columns=columns,
            clips=clips_found,
            random=drawn(len(clips_found)),
            order=order,
            chosen=min(clips, len(clips_found)),
            frame_note="a frame of the clip",
            embedded=embedding,
            origin=[(name, text) if text else ("note", name) for name, _, text in entries],
            folded=[],
        ),
    )


def columns_of(
    runs: Mapping[str, Sequence[CaptionRows]], found: Measured, against: str, clip_ids: Sequence[str]
) -> tuple[list[Column], list[Scores]]:
    """The differences first, then the scores of each row; of other metrics than the first, when asked for."""
    starts = dict(zip(runs, np.cumsum([0, *map(len, runs.values())])))  # of the rows among the metrics' systems
    columns, scores = [], []
    keys = sorted(found.metrics, key=lambda key: (*ORDER, *TITLES, key).index(key))
    for key in keys:
        per_clip = {name: found.metrics[key].per_clip[start] for name, start in starts.items()}  # (N,) each
        title, low_is_good = TITLES.get(key, key), key in LOW_IS_GOOD
        others = [name for name in runs if name != against]
        for number, name in enumerate(others):
            shown = key == keys[0] and number < SHOWN
            columns.append(Column(f"{key} {name} minus", f"{title}: {name} minus {against}", shown, low_is_good))
            scores.append(by_clip(clip_ids, per_clip[name] - per_clip[against]))
        for number, (name, values) in enumerate(per_clip.items()):
            system = number if key == keys[0] else None
            columns.append(Column(f"{key} {name}", f"{title}: {name}", not others, low_is_good, system))
            scores.append(by_clip(clip_ids, values))
    return columns, scores


def by_clip(clip_ids: Sequence[str], values: np.ndarray) -> Scores:
    """Scores (N,) by clip id; clips with nothing to score, nan, are left out."""
    return {clip_id: float(value) for clip_id, value in zip(clip_ids, values) if not np.isnan(value)}
