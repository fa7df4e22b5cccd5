"""What systems cost and what they were shown, as their runs noted it (`callbacks.costs`): columns beside the scores."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.origin import noted_by_test
from reports.table import Cell, Line, Spread

COSTS = {
    "trained": "parameters trained",
    "frozen": "parameters frozen",
    "training_seconds": "seconds of training",
    "caption_seconds": "seconds a caption",
}
SHOWN = {"texts": "texts read", "sounds": "sounds", "pictures": "pictures", "pairs": "sounds with captions"}
TITLES = COSTS | SHOWN
NOTE = (
    "costs: parameters trained by all fits that the captions come from, and the others that are loaded to caption; "
    "seconds of all processes on a CPU, or of all GPUs, in the steps of these fits, their validations and the "
    "predictions that they learn from, and in the steps of the test; loading networks and files, and embedding a "
    "corpus once, do not count. Read: what datamodules handed to these fits and predictions, and to the test beside "
    "its own clips; what frozen networks were pretrained on does not count"
)
Note = Mapping[str, Any]


def add_costs(lines: Sequence[Line], rows: Mapping[str, Sequence[Path]]) -> list[str]:
    """Add the columns of `TITLES` to a table, and return notes on them.

    Args:
        lines: of the table; those that are no run's get "-".
        rows: for each row the captions files of its runs.
    """
    notes = {name: [noted_by_test(path) for path in paths] for name, paths in rows.items()}
    whole = {name: each for name, each in notes.items() if all(map(is_whole, each))}
    for line in lines:
        line |= dict.fromkeys(TITLES, "-") | (cells(whole[str(line["row"])]) if line["row"] in whole else {})
    noted = [each for group in whole.values() for run in group for each in (run, *exports(run).values())]
    units = sorted({each["costs"]["unit"] for each in noted})
    found = [f"{NOTE} (seconds of: {' or '.join(units)})"] if whole else []
    if missing := [name for name in rows if name not in whole]:
        found.append(f"costs: not noted by the runs of {', '.join(missing)}, or of an export that they read")
    for name, group in notes.items():
        if pretrained := sorted({str(source) for run in group for source in run.get("trained_on", [])}):
            found.append(f"{name}: a frozen network says that it was pretrained on {', '.join(pretrained)}")
    return found


def is_whole(note: Note) -> bool:
    """Whether a test and all exports behind it noted their costs."""
    return "costs" in note and all("costs" in export for export in exports(note).values())


def exports(note: Note) -> dict[str, Note]:
    """All exports that a test or an export was made from, each once, by path."""
    found: dict[str, Note] = {}
    for path, export in (note.get("made_from") or {}).items():
        found |= {path: export} | exports(export)
    return found


def cells(group: Sequence[Note]) -> Line:
    """The cells of a row; where its runs differ, their range."""

    def numbers(number: Callable[[Note], float]) -> Cell:
        return Spread(tuple(number(note) for note in group))

    def counts(number: Callable[[Note], int]) -> Cell:
        found = sorted(number(note) for note in group)
        return " to ".join(f"{each:,}" for each in dict.fromkeys((found[0], found[-1])))

    read = {(split, medium) for note in group for split, medium in read_by(note)}
    of = {medium: {split for split, each in read if each == medium} for _, medium in read}
    texts = of.get("captions", set()) | of.get("sentences", set())
    sets = {
        "texts": texts,
        "sounds": of.get("sounds", set()),
        "pictures": of.get("pictures", set()),
        "pairs": of.get("captions", set()) & of.get("sounds", set()),
    }
    return {
        "trained": counts(lambda note: sum(trained(note, "trained"))),
        "frozen": counts(lambda note: note["costs"]["parameters"] - sum(trained(note, "handed_on"))),
        "training_seconds": numbers(lambda note: sum(each["costs"]["seconds"] for each in exports(note).values())),
        "caption_seconds": numbers(lambda note: note["costs"]["seconds"] / max(1, note["costs"]["captions"])),
        **{key: by_corpus(splits) or "none" for key, splits in sets.items()},
    }


def by_corpus(splits: Collection[str]) -> str:
    """Names of splits, the corpus once: `audiocaps train, val; wavcaps train`."""
    parts: dict[str, list[str]] = {}
    for corpus, _, part in (split.partition("/") for split in sorted(splits)):
        parts.setdefault(corpus, []).append(part)
    return "; ".join(f"{corpus} {', '.join(found)}".strip() for corpus, found in parts.items())


def trained(note: Note, what: str) -> Iterator[int]:
    """A number of each fit behind a test; a prediction trains nothing."""
    return (export["costs"].get(what, 0) for export in exports(note).values())


def read_by(note: Note) -> Iterator[tuple[str, str]]:
    """Each split and medium that was read; a table that an export holds is the system's own work."""
    made = exports(note)
    for each in (note, *made.values()):
        for split, media in each["costs"]["read"].items():
            own = str(Path(split).parent) in made
            yield from (("its own captions" if own else split, medium) for medium in media)
