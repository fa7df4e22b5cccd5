"""Resuming with other devices: the batches that a run has done, in those that it goes on with."""

from typing import Any

import lightning as L

from earshot.errors import InputError

KEY = "batches_of_a_step"  # in a checkpoint


class BatchesDone(L.Callback):
    """Count the batches done anew where a resumed run makes its optimizer steps of another number of them.

    Lightning goes on after so many batches of a rank. With the global batch held, a step is one batch on each of four
    devices, or four on one device; after ten steps the one has done 10 batches, and the other 40.
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how many batches of a rank make up a step."""
        checkpoint[KEY] = trainer.accumulate_grad_batches

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Change the counts of the checkpoint, before Lightning's loops read them.

        Raises:
            InputError: it was saved in the middle of a step.
        """
        now = trainer.accumulate_grad_batches
        before = checkpoint.get(KEY, now)
        if before == now:
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            done = counts["processed"]
            if done % before:
                raise InputError(
                    f"expected a checkpoint after a whole step of {before} batches to go on with {now}, found one "
                    f"after {done}; resume with the devices and the batch_size that it was made with"
                )
            for name in counts:  # completed is one less than processed where the last one's hooks saved
                counts[name] += done // before * now - done
