"""Captions of a few validation clips while a stage trains: words show what a loss does not."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger

from datamodules.contracts import ValidationCaptioner
from earshot.terminal import printable


class ValidationCaptions(L.Callback):
    """Show captions of the first clips of every validation in fit, with the captions that are wanted.

    Stages that do not caption while they train are left alone. Rank 0 captions, on the terminal and in W&B's table
    val/captions, which has a row for each clip and validation.

    Args:
        number: of clips; 0 shows none.
    """

    def __init__(self, number: int = 3) -> None:
        self.number = number
        self.rows: list[list[Any]] = []

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Caption the first batch; not in the sanity check before training."""
        first = trainer.is_global_zero and trainer.state.fn == "fit" and batch_idx == dataloader_idx == 0
        if not (first and self.number and isinstance(pl_module, ValidationCaptioner)) or trainer.sanity_checking:
            return
        if not getattr(batch, "valid", False):
            return
        pairs = pl_module.validation_captions(batch, self.number)
        print(f"validation captions after step {trainer.global_step}:")  # print goes above a progress bar
        for caption, wanted in pairs:
            print(f"  {printable(caption)!r}, wanted {printable(wanted)!r}", flush=True)
        self.rows += [[trainer.global_step, caption, wanted] for caption, wanted in pairs]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("val/captions", ["step", "caption", "wanted"], self.rows, step=trainer.global_step)
