"""What a training run has left behind, and how two of them differ: weights, optimizer, curve, export, order, rows."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from callbacks.export import CARD, PROVENANCE

RESUMED_FROM = (  # of a checkpoint
    "state_dict", "optimizer_states", "lr_schedulers", "global_step", "loops", "trained_with", "Miniature",
    "MiniatureCaptions", "MiniatureSentences",
)  # fmt: skip
TIMES = ("train/solver_seconds",)  # in metrics.csv
STARTS = ("run_folder", "command", "commit", "checkpoint", "costs")  # of an export's provenance: how the run went


def differences(found: Any, wanted: Any, tolerance: float = 0.0, place: str = "") -> list[str]:
    """Where two nested values differ; numbers may by `tolerance`, but not in what counts steps."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = list(dict.fromkeys([*wanted, *found]))
        return [
            line
            for key in keys
            for line in (
                differences(found[key], wanted[key], tolerance, f"{place}/{key}")
                if key in found and key in wanted
                else [f"{place}/{key} is only in the {'killed' if key in found else 'unbroken'} run's"]
            )
        ]
    if isinstance(wanted, list | tuple) and isinstance(found, list | tuple) and len(wanted) == len(found):
        pairs = enumerate(zip(found, wanted))
        return [line for number, pair in pairs for line in differences(*pair, tolerance, f"{place}/{number}")]
    if isinstance(wanted, torch.Tensor) and isinstance(found, torch.Tensor) and wanted.shape == found.shape:
        apart = (wanted.double() - found.double()).abs().max().item() if wanted.numel() else 0.0
        return [] if apart <= tolerance else [f"{place} is {apart:.3g} apart"]
    if isinstance(wanted, float) and isinstance(found, float) and tolerance:
        return [] if abs(wanted - found) <= tolerance else [f"{place} is {abs(wanted - found):.3g} apart"]
    return [] if found == wanted else [f"{place} is {short(found)}, unbroken {short(wanted)}"]


def short(value: Any) -> str:
    """The beginning of a value."""
    return repr(value)[:80]


def last_fit(folder: Path) -> Path:
    """The newest fit run in a working folder."""
    return max(folder.glob("runs/run/fit-*"), key=lambda path: int(path.name.removeprefix("fit-")))


def checkpoints(folder: Path) -> dict[str, Any]:
    """What the newest fit run would be resumed from."""
    read = {
        path.name: torch.load(path, weights_only=True) for path in sorted(last_fit(folder).glob("checkpoints/*.ckpt"))
    }
    return {name: {key: made[key] for key in RESUMED_FROM if key in made} for name, made in read.items()}


def curve(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv."""
    with open(last_fit(folder) / "metrics.csv", newline="") as file:
        return [{key: row[key] for key in sorted(row) if key not in TIMES} for row in csv.DictReader(file)]


def export(folder: Path, exact: bool = True) -> dict[str, Any]:
    """The files of the export: bytes, or the tensors alone; of the notes what does not say how the run was started."""
    files = sorted(path for path in (folder / "exports/run").rglob("*") if path.is_file())
    if not exact:
        return {path.name: load_file(path) for path in files if path.suffix == ".safetensors"}
    read = {path.name: path.read_bytes() for path in files if path.name not in (CARD, PROVENANCE)}
    notes = json.loads((folder / "exports/run" / PROVENANCE).read_text())
    return read | {PROVENANCE: {key: value for key, value in notes.items() if key not in STARTS}}


Batch = dict[str, Any]  # the position, the optimizer step, the rows


def read_order(path: Path) -> list[Batch]:
    """The batches of one rank in one attempt; a kill may have cut off the last line."""
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def history(attempts: list[list[Batch]]) -> tuple[list[Batch], list[str]]:
    """The batches of one rank that its final weights have seen, and what is wrong with how attempts follow on."""
    seen: list[Batch] = []
    wrong = []
    for number, attempt in enumerate(attempts):
        if not attempt:
            continue
        first = attempt[0]["position"]
        if first > len(seen):
            wrong.append(f"attempt {number} begins at batch {first}, {len(seen)} were seen")
        for again in attempt:
            before = seen[again["position"]] if again["position"] < len(seen) else again
            if before["rows"] != again["rows"]:
                wrong.append(f"batch {again['position']} has other rows in attempt {number}")
        seen = [*seen[:first], *attempt]
    if [batch["position"] for batch in seen] != list(range(len(seen))):
        wrong.append("a position is missing or there twice")
    return seen, wrong


def global_batches(ranks: list[list[Batch]]) -> list[list[str]]:
    """The rows of each optimizer step over all ranks, sorted."""
    steps: dict[int, list[str]] = {}
    for batch in (batch for rank in ranks for batch in rank):
        steps.setdefault(batch["step"], []).extend(batch["rows"])
    return [sorted(steps[step]) for step in sorted(steps)]
