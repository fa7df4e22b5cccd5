"""What makes a killed training run go on as an unbroken one: checkpoints that no kill destroys, and seeds of steps."""

import os
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.callbacks import Checkpoint

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


class LastCheckpoint(Checkpoint):
    """Save checkpoints/last.ckpt, the newest state every so many optimizer steps and at the end of every epoch.

    It never saves between a training step and the validation after it: when resumed from there, Lightning skips that
    validation, whose loss would be missing from the curve and from the choice of the best weights.

    Args:
        every_n_train_steps: a kill loses at most about this many steps.
    """

    def __init__(self, every_n_train_steps: int = 100) -> None:
        self.every_n_train_steps = every_n_train_steps
        self.saved = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Count from the step at which a resumed run starts."""
        self.saved = trainer.global_step

    def save(self, trainer: L.Trainer) -> None:
        """Write the file, unless this step is in it already."""
        if trainer.global_step != self.saved and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set at run time
            path = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
            trainer.save_checkpoint(path, weights_only=False)  # all of the state, to resume from
            self.saved = trainer.global_step

    def due(self, trainer: L.Trainer) -> bool:
        """Whether a multiple of the steps has been passed since the last file."""
        return trainer.global_step // self.every_n_train_steps > self.saved // self.every_n_train_steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save if due and if no validation can follow."""
        epoch = trainer.fit_loop.epoch_loop
        batches = batch_idx + 1 if trainer.check_val_every_n_epoch else epoch.total_batch_idx + 1
        validates = epoch.batch_progress.is_last_batch or batches % (trainer.val_check_batch or 1) == 0
        if self.due(trainer) and not validates:
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save if due, after a validation in the middle of an epoch."""
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fitting and self.due(trainer) and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the finished epoch."""
        self.save(trainer)


class SeedSteps(L.Callback):
    """Seed torch before every training step from (seed_everything, rank, number of the step).

    A checkpoint holds no state of the random number generators, and with several ranks could hold only that of rank 0:
    without this callback, dropout differs after resuming. It does nothing with `seed_everything: false`.
    """

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed the generators of the CPU and of the device."""
        seed = os.environ.get("PL_GLOBAL_SEED")  # set by Lightning's seed_everything
        if seed is not None:
            entropy = (int(seed), trainer.global_rank, trainer.fit_loop.total_batch_idx)
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
