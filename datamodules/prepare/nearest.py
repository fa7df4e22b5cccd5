"""The clips whose images are nearest to their labels, as a list of ids to train on (DALI, appendix C)."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from datamodules.caption_table import read_rows
from earshot.atomic import atomic_path
from earshot.errors import InputError, command_that_makes


def write_nearest(distances: Path, keep: int, output: Path) -> None:
    """Write the ids of the `keep` clips with the smallest distances, and draw the distances of all beside them.

    The list is a CSV of clip_id and distance, the nearest first, equal distances by id; `data.ids` reads it. Clips
    without a distance are left out, and counted. The histogram has the list's name and the ending .png.

    Args:
        distances: the table that `predict` with configs/audioset_filter.yaml writes.
        keep: how many clips.
        output: the list.

    Raises:
        InputError: no such table, a column is missing, a distance is not a number, or there are fewer clips than kept.
    """
    measured, without = read_distances(distances)
    if not 1 <= keep <= len(measured):
        raise InputError(
            f"expected --keep from 1 to {len(measured)}, the clips with a distance in {distances}, found {keep}; "
            "correct it"
        )
    nearest = sorted(measured, key=lambda row: (row[1], row[0]))[:keep]
    threshold = nearest[-1][1]
    with atomic_path(output) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("clip_id", "distance"))
        writer.writerows(nearest)
    figure = output.with_suffix(".png")
    draw([distance for _, distance in measured], threshold, keep, figure)
    print(
        f"{output}: {keep} of {len(measured)} clips, those at a distance of at most {threshold:.6g}"
        + f"; {without} more have no image or no label" * (without > 0)
    )
    print(f"{figure}: the distances of all clips")


def read_distances(path: Path) -> tuple[list[tuple[str, float]], int]:
    """The clips that have a distance, in the table's order, and the number of those that have none."""
    rows = read_rows(path, "distances", f"make it: {command_that_makes(path.parent)}")
    if absent := {"clip_id", "distance"} - rows[0].keys():
        raise InputError(f"expected columns clip_id and distance in {path}, found no {min(absent)}; name another table")
    try:
        measured = [(row["clip_id"], float(row["distance"])) for row in rows if row["distance"]]
    except ValueError as error:
        raise InputError(f"expected numbers in the column distance of {path}, found: {error}; predict again") from None
    if odd := [clip_id for clip_id, distance in measured if not math.isfinite(distance)]:
        raise InputError(f"expected finite distances in {path}, found another of {odd[0]!r}; predict again")
    if len({clip_id for clip_id, _ in measured}) < len(measured):
        raise InputError(f"expected every clip once in {path}, found one twice; remove one of its rows")
    return measured, len(rows) - len(measured)


def draw(distances: Sequence[float], threshold: float, keep: int, path: Path) -> None:
    """A histogram of the distances, with a line at the largest that is kept."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    panel = figure.subplots()
    panel.hist(distances, bins="sqrt" if len(distances) < 10000 else 100, color="0.7")
    panel.axvline(threshold, color="k")
    panel.set_title(f"left of the line: {keep} of {len(distances)} clips, up to {threshold:.4g}", fontsize="medium")
    panel.set(xlabel="distance between captions of the images and the labels", ylabel="clips")
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
