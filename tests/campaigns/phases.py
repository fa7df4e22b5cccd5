"""Injected by the kill campaign's YAML: says in what phase a run is, and which rows its training batches hold."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch

PIPE, ORDER = "phases.fifo", "order-{rank}.jsonl"


class Phases(L.Callback):
    """Rank 0 writes `<phase> <optimizer steps>` to the pipe in the working folder; each rank its batches to a file."""

    def __init__(self) -> None:
        self.pipe: int | None = None

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        if trainer.is_global_zero and Path(PIPE).exists():
            self.pipe = os.open(PIPE, os.O_WRONLY)
        self.tell(trainer, "setup")

    def tell(self, trainer: L.Trainer, phase: str) -> None:
        if self.pipe is not None:
            os.write(self.pipe, f"{phase} {trainer.global_step}\n".encode())

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.tell(trainer, "step")
        position = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        line = {"position": position, "step": trainer.global_step, "rows": rows_of(batch)}
        with open(ORDER.format(rank=trainer.global_rank), "a") as file:
            file.write(json.dumps(line) + "\n")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: Any) -> None:
        self.tell(trainer, "checkpoint")


def _teller(phase: str) -> Any:
    def hook(self: Phases, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.sanity_checking:
            self.tell(trainer, phase)

    return hook


for hook, phase in {
    "on_train_batch_end": "after_step",
    "on_validation_start": "validation",
    "on_validation_end": "after_validation",
    "on_train_epoch_end": "epoch_end",
    "on_train_epoch_start": "epoch_start",
    "on_train_end": "export",
    "on_predict_batch_start": "predict",
    "on_predict_batch_end": "predict_rows",
    "on_predict_end": "predict_table",
}.items():
    setattr(Phases, hook, _teller(phase))


def rows_of(batch: Any) -> list[str]:
    """A name for each row of a batch, by all that it holds: a clip with another frame is another row."""
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    count = max(len(value) for value in fields.values() if value is not None)
    return [row_name(fields, row) for row in range(count)]


def row_name(fields: dict[str, Any], row: int) -> str:
    """The row's text, if it has one, and a digest of the row; padding, which depends on its neighbours, is left out."""
    digest, label = hashlib.sha256(), ""
    for name, value in fields.items():
        if value is None:
            continue
        item = value[row]
        if isinstance(item, torch.Tensor):
            if name == "waveforms":
                item = item[: int(fields["num_samples"][row])]
            digest.update(item.contiguous().numpy().tobytes())
        else:
            digest.update(json.dumps(item, default=int).encode())  # numbers of numpy are no JSON
            label = label or (item if isinstance(item, str) else "")
    return f"{label} {digest.hexdigest()[:8]}".strip()
