"""A training run whose loss is no number any more stops, names the clips, and leaves a state that can be trained."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, distributed

from callbacks.wandb_logger import WandbLogger
from datamodules.contracts import NamedClips
from earshot.errors import InputError

NAMED = 8  # clips


class FiniteLoss(L.Callback):
    """Look at the losses of the last steps every so many steps, and before a checkpoint is saved.

    Looking after every step would wait for the device. No checkpoint is written after a loss that is not finite, so
    that checkpoints/last.ckpt still holds the state before it.

    Args:
        every_n_train_steps: how late a loss is seen at most, in batches.
    """

    def __init__(self, every_n_train_steps: int = 20) -> None:
        self.every_n_train_steps = every_n_train_steps
        self.batches: list[tuple[Tensor, int, list[str]]] = []  # not looked at: loss (), step, clips

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the loss and the clips."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            clips = batch.clip_ids if isinstance(batch, NamedClips) else []
            self.batches.append((loss.detach(), trainer.global_step, clips))
        if len(self.batches) >= self.every_n_train_steps:
            self.look(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Called on all ranks, before the file is written."""
        self.look(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the last steps, and at the validation.

        Raises:
            InputError: a loss is not finite.
        """
        self.look(trainer)
        loss = float(trainer.callback_metrics.get("val/loss", 0.0))
        if not math.isfinite(loss):
            self.stop(trainer, "val/loss", loss, f"at the end of epoch {trainer.current_epoch + 1}")

    def look(self, trainer: L.Trainer) -> None:
        """Stop all ranks where a loss of one of them is not finite.

        Raises:
            InputError: one is not.
        """
        batches, self.batches = self.batches, []
        losses = torch.stack([loss.float() for loss, _, _ in batches]).tolist() if batches else []
        wrong = next((number for number, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if trainer.strategy.reduce_boolean_decision(wrong is None, all=True):
            return
        first = None if wrong is None else (losses[wrong], batches[wrong][1], batches[wrong][2])
        found = [first]
        if distributed.is_initialized():
            found = [None] * trainer.world_size
            distributed.all_gather_object(found, first)
        loss, step, clips = min((one for one in found if one is not None), key=lambda one: one[1])
        named = f" with the clips {', '.join(clips[:NAMED])}{' ...' * (len(clips) > NAMED)}" if clips else ""
        self.stop(trainer, "train/loss", loss, f"in step {step} (epoch {trainer.current_epoch + 1}){named}")

    def stop(self, trainer: L.Trainer, name: str, loss: float, where: str) -> None:
        """Tell W&B, and end.

        Raises:
            InputError: always.
        """
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.alert(f"{name} is {loss}", f"{where}: the run stops")
        raise InputError(
            f"expected a finite {name}, found {loss} {where}; lower the learning rate or look at the data, and train "
            "again, or go on from the state before with --ckpt_path last"
        )
