"""Checkpoints that a kill in mid-write cannot destroy."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, then rename over it.

    Lightning writes to the system's temporary folder and moves the file from there. Between two file systems
    a move is a copy, and a kill during it leaves half a checkpoint where the last good one was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write all of `checkpoint` to `path`, or leave what is there."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        with unfinished.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
        unfinished.replace(path)
