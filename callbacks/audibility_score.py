"""Metric A of audibility guidance: how probably the classifier calls the captions audible, on average."""

import json
import os
from typing import Any

import lightning as L
import torch.distributed

from callbacks.caption_evaluation import run_folder
from callbacks.scores import FILE_NAME


class AudibilityScore(L.Callback):
    """Takes the `audibility` that a stage's `test_step` returns beside its captions (`AudibleCaptionRows`).

    The mean over the clips of all ranks, each once, is logged as test/audibility and stands in scores.json beside the
    scores of `CaptionEvaluation`.
    """

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self.found = {}

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep what this rank's captions have."""
        if isinstance(outputs, dict) and "audibility" in outputs:
            self.found.update(zip(outputs["clip_ids"], outputs["audibility"]))

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather on rank 0."""
        if trainer.world_size > 1:
            ranks: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, self.found)
            self.found = {clip_id: value for found in ranks for clip_id, value in found.items()}

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log, and write into scores.json."""
        if not self.found or not trainer.is_global_zero:
            return
        value = sum(self.found.values()) / len(self.found)
        for logger in trainer.loggers:
            logger.log_metrics({"test/audibility": value}, step=trainer.global_step)
            logger.save()
        path = run_folder(trainer) / FILE_NAME
        content = json.loads(path.read_text()) if path.is_file() else {}
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps({**content, "audibility": value}, indent=2) + "\n")
        os.replace(partial, path)
        print(f"audibility (A) {value:.3f} over {len(self.found)} clips", flush=True)
