"""Figures that fit or validate logged, for the rows of a report: out of metrics.csv in the folders beside a test."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from earshot.errors import InputError

FILE_NAME = "metrics.csv"


def read_titles(arguments: Sequence[str]) -> dict[str, str]:
    """KEY=TITLE arguments: titles by KEY."""
    titles = {}
    for argument in arguments:
        key, _, title = argument.partition("=")
        if not (key and title):
            raise InputError(
                f"expected KEY=TITLE, found {argument!r}; name a column of {FILE_NAME}, as in val/loss=distance"
            )
        titles[key] = title
    return titles


def newest_log(captions: Path) -> Path | None:
    """The metrics.csv last written by fit or validate under the run name whose test wrote this captions file."""
    folder = captions.absolute().parent.parent
    found = [path for command in ("fit", "validate") for path in folder.glob(f"{command}-*/{FILE_NAME}")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def read_metrics(path: Path) -> dict[str, list[float]]:
    """What a run logged, by key, in the order of the file; keys that were given no value are left out.

    Raises:
        InputError: a cell that is not a number.
    """
    values: dict[str, list[float]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restkey="", restval="")
        for line in reader:
            for key, cell in line.items():
                if key and cell:
                    try:
                        values.setdefault(key, []).append(float(cell))
                    except ValueError:
                        raise InputError(
                            f"expected a number in {path}, line {reader.line_num}, {key}, found {cell[:60]!r}; "
                            "correct the file"
                        ) from None
    return values


def logged_values(rows: Mapping[str, Sequence[Path]], keys: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """By row, then by key, the last value that each training of the row logged; none where a training did not.

    Args:
        rows: for each row the captions files of its trainings. Each training must have a run name of its own: where
            two tests lie beside the same runs, which was tested when is not known, and the row has no figure.
        keys: columns of metrics.csv.

    Raises:
        InputError: a key that no row has.
    """
    logs = {name: [newest_log(path) for path in paths] for name, paths in rows.items()}
    metrics = {path: read_metrics(path) for paths in logs.values() for path in paths if path is not None}
    values: dict[str, dict[str, list[float]]] = {}
    for name, paths in logs.items():
        own = [metrics[path] for path in dict.fromkeys(paths) if path is not None]
        for key in keys:
            found = [logged[key][-1] for logged in own if key in logged]
            values.setdefault(name, {})[key] = found if len(found) == len(paths) else []
    for key in keys:
        if not any(row[key] for row in values.values()):
            known = ", ".join(sorted({key for logged in metrics.values() for key in logged})) or "nothing"
            raise InputError(
                f"expected {key} in the runs of a row, found no row whose trainings each have a fit or validate that "
                f"logged it; name another: what lies beside the tests ({len(metrics)}) logged {known}"
            )
    return values
