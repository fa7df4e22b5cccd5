"""checkpoints/last.ckpt, from which a killed training run is resumed."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Save the newest state every so many optimizer steps and at the end of every epoch.

    It never saves between a training step and the validation after it: when resumed from there, Lightning skips that
    validation, whose loss would be missing from the curve and from the choice of the best weights.

    Args:
        every_n_train_steps: a kill loses at most about this many steps.
    """

    def __init__(self, every_n_train_steps: int = 100) -> None:
        self.every_n_train_steps = every_n_train_steps
        self.saved = 0
        self.path = Path()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Count from the step at which a resumed run starts."""
        self.saved = trainer.global_step
        self.path = Path(trainer.log_dir or trainer.default_root_dir, "checkpoints", "last.ckpt")

    def save(self, trainer: L.Trainer) -> None:
        """Write the file, unless this step is in it already."""
        if trainer.global_step != self.saved and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path, weights_only=False)  # all of the state, to resume from
            self.saved = trainer.global_step

    def due(self, trainer: L.Trainer) -> bool:
        """Whether a multiple of the steps has been passed since the last file."""
        return trainer.global_step // self.every_n_train_steps > self.saved // self.every_n_train_steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save if due and if no validation can follow."""
        epoch = trainer.fit_loop.epoch_loop
        batches = batch_idx + 1 if trainer.check_val_every_n_epoch else epoch.total_batch_idx + 1
        every = trainer.val_check_batch or 1
        validates = epoch.batch_progress.is_last_batch or batches % every == 0
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
