"""Checkpoints that a kill in mid-write cannot destroy."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from earshot.atomic import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, then rename over it.

    Lightning writes to the system's temporary folder and moves the file from there. Between two file systems
    a move is a copy, and a kill during it leaves half a checkpoint where the last good one was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write all of `checkpoint` to `path`, or leave what is there."""
        with atomic_path(Path(path)) as partial:
            torch.save(checkpoint, partial)
