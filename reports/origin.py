"""How a report was measured: command, seeds, versions and date, as its last section says."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from earshot.errors import InputError
from earshot.provenance import provenance
from earshot.settings import read_settings
from evaluation.scores_file import read_scores

HEADING = "## How this was measured"
MADE_BY_ELSEWHERE = "weights, prompt, decoding and versions of each test: `made_by` in its scores.json"
SEEDS = "seeds (of the fit whose export was tested, else of the test)"


def origin(command: Sequence[str]) -> list[str]:
    """The command, the versions and the date."""
    found = provenance(command)
    return [
        f"command: `{found.pop('command')}`",
        f"versions: {', '.join(f'{name} {value}' for name, value in found.items())}",
        f"date: {date.today().isoformat()}",
    ]


def seeds(rows: Mapping[str, Sequence[Path]]) -> str:
    """The seeds of the training runs whose captions files are compared."""
    found = {name: ", ".join(map(_training_seed, paths)) for name, paths in rows.items()}
    if len(set(found.values())) == 1:
        return f"{SEEDS}, in every row: {next(iter(found.values()))}"
    return f"{SEEDS}: " + "; ".join(f"{name} {each}" for name, each in found.items())


def recorded(rows: Mapping[str, Sequence[Path]]) -> list[str]:
    """What the tests noted in their scores.json (`callbacks.made_by`): clips, hardware, warnings; what differs, by row.

    Weights, prompt and decoding stay there: a page has no room for them.
    """
    notes = {name: [noted_by_test(path) for path in paths] for name, paths in rows.items()}
    found = []
    for title, text in (
        ("clip ids", _clips),
        ("captioned on", _hardware),
        ("warning", _warning),
    ):
        texts = {name: dict.fromkeys(filter(None, map(text, group))) for name, group in notes.items()}
        several = {name: "; ".join(each) for name, each in texts.items() if each}
        if len(several) == len(notes) and len(set(several.values())) == 1:
            found.append(f"{title}: {next(iter(several.values()))}")
        elif several:
            found.append(f"{title}: " + "; ".join(f"{name} {each}" for name, each in several.items()))
    if any(note for group in notes.values() for note in group):
        found.append(MADE_BY_ELSEWHERE)
    return found


def noted_by_test(captions: Path) -> dict[str, Any]:
    """What the test that wrote a captions file noted beside its scores; nothing where there is no such note."""
    try:
        found = read_scores(captions).get("made_by")
    except (OSError, InputError):
        found = None
    return found if isinstance(found, dict) else {}


def _clips(note: dict[str, Any]) -> str | None:
    clips = note.get("clips")
    if not clips:
        return None
    listed = ""
    if "listed" in clips:
        version = f", {clips['version']}" if "version" in clips else ""
        listed = f", {clips['missing']} of the {clips['listed']} in {clips['corpus']}'s own list missing{version}"
    return f"{clips['split']}, digest {clips['digest']}{listed}"


def _warning(note: dict[str, Any]) -> str | None:
    return note.get("warning")


def _hardware(note: dict[str, Any]) -> str | None:
    return f"{note['hardware']}, {note['precision']}" if "hardware" in note else None


def section_of(path: Path) -> list[str]:
    """The entries of the last section of another report; none where there is no such report."""
    section = path.read_text(encoding="utf-8").partition(HEADING)[2] if path.is_file() else ""
    return [line.removeprefix("- ") for line in section.splitlines() if line]


def _training_seed(captions: Path) -> str:
    """Of the run that trained what wrote the captions, as the test noted it: the export may be another's by now.

    Where there is no note, of the run that wrote the export.
    """
    config = _config(captions.parent)
    weights, export = noted_by_test(captions).get("weights"), config.get("export") or {}
    if weights is None and export.get("load"):
        written = Path(export["source"] or f"{export['root']}/{config['run_name']}", "provenance.json")
        weights = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else None
    if weights and "run_folder" in weights:
        config = _config(Path(weights["run_folder"]))
    elif weights and "checkpoint" in weights:  # in runs/<run_name>/fit-<n>/checkpoints/<name>.ckpt
        config = _config(Path(weights["checkpoint"]).parent.parent)
    return str(config.get("seed_everything", "unknown"))


def _config(run_folder: Path) -> dict[str, Any]:
    path = run_folder / "config.yaml"
    return read_settings(path) if path.is_file() else {}
