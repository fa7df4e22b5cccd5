"""What fit or validate logged, for the rows of a report: from metrics.csv in the run folders beside a test."""

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
    """The newest metrics.csv of a fit or validate with the run name whose test wrote this captions file."""
    folder = captions.absolute().parent.parent
    found = [path for command in ("fit", "validate") for path in folder.glob(f"{command}-*/{FILE_NAME}")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def last_values(path: Path) -> dict[str, float]:
    """The last value of each key that a run logged; keys without a value are left out.

    Raises:
        InputError: a cell that is not a number.
    """
    values: dict[str, float] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for line in reader:
            for key, cell in line.items():
                try:
                    values |= {key: float(cell)} if cell else {}
                except (TypeError, ValueError):
                    raise InputError(
                        f"expected a number in {path}, line {reader.line_num}, {key}, found {str(cell)[:60]!r}; "
                        "correct the file"
                    ) from None
    return values


def logged_values(rows: Mapping[str, Sequence[Path]], keys: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """By row, then by key, the last value that each training run of the row logged; none where one did not log it.

    Args:
        rows: for each row the captions files of its training runs. Each needs a run name of its own: where two tests
            are beside the same runs it is unknown which run was tested, and the row gets no value.
        keys: columns of metrics.csv.

    Raises:
        InputError: a key that no row has.
    """
    logs = {name: [newest_log(path) for path in paths] for name, paths in rows.items()}
    logged = {path: last_values(path) for paths in logs.values() for path in paths if path is not None}
    values: dict[str, dict[str, list[float]]] = {}
    for name, paths in logs.items():
        own = [logged[path] for path in dict.fromkeys(paths) if path is not None]
        found = {key: [run[key] for run in own if key in run] for key in keys}
        values[name] = {key: each if len(each) == len(paths) else [] for key, each in found.items()}
    for key in keys:
        if not any(row[key] for row in values.values()):
            known = ", ".join(sorted(set().union(*logged.values()))) or "nothing"
            raise InputError(
                f"expected {key} in the runs of a row, found no row whose training runs each have a fit or validate "
                f"that logged it; name another: the runs beside the tests ({len(logged)}) logged {known}"
            )
    return values
