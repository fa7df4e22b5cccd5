"""Checkpoints that a kill in mid-write cannot destroy."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from earshot.atomic import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, then rename over it.

    Lightning writes to the system's temporary folder and moves the file from there. Between two file systems, moving is
    copying, and a kill during the copy leaves half a checkpoint in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write the whole `checkpoint` to `path`, or leave the file that is there."""
        with atomic_path(Path(path)) as partial:
            torch.save(checkpoint, partial)
