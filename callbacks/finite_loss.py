"""A training run whose loss is no number any more stops, before its state replaces a good one."""

import math

import lightning as L

from callbacks.wandb_logger import WandbLogger
from earshot.errors import InputError

LOSSES = ("train/loss", "val/loss")


class FiniteLoss(L.Callback):
    """Look at the losses at the end of every epoch: looking after every step would wait for the device.

    It comes before the callbacks that save, so that checkpoints/last.ckpt still holds a state that can be trained.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop where a loss is not finite.

        Raises:
            InputError: it is not.
        """
        for name in LOSSES:
            loss = float(trainer.callback_metrics.get(name, 0.0))
            if not math.isfinite(loss):
                for logger in trainer.loggers:
                    if isinstance(logger, WandbLogger):
                        logger.alert(f"{name} is {loss}", f"epoch {trainer.current_epoch + 1}: the run stops")
                raise InputError(
                    f"expected a finite {name}, found {loss} at the end of epoch {trainer.current_epoch + 1}; lower "
                    "the learning rate or look at the data, and train again"
                )
