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
        if trainer.state.fn != "fit":
            return
        now = trainer.accumulate_grad_batches
        before = checkpoint.get(KEY, now)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        if (done := progress["current"]["processed"]) % before and not progress["is_last_batch"]:
            raise InputError(
                f"expected a checkpoint after a whole step of {before} batches, found one after {done} batches of an "
                "epoch, by a validation in the middle of a step; go on from --ckpt_path last"
            )
        for counts in (progress["total"], progress["current"]) if before != now else ():
            done = counts["processed"]
            for name in counts:  # completed is one less than processed where the last one's hooks saved
                counts[name] += done // before * now - done
