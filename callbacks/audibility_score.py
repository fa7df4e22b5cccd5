"""Metric A of audibility guidance: how probably the classifier calls the captions audible, on average."""

from typing import Any

import lightning as L

from callbacks.caption_evaluation import gathered, run_folder
from evaluation.scores import write_scores


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
        """Keep what the captions of all ranks have, on rank 0."""
        for rows in gathered(trainer, outputs):
            if isinstance(rows, dict) and "audibility" in rows:
                self.found.update(zip(rows["clip_ids"], rows["audibility"]))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log, and write into scores.json."""
        if not self.found:  # none, or not rank 0
            return
        value = sum(self.found.values()) / len(self.found)
        for logger in trainer.loggers:
            logger.log_metrics({"test/audibility": value}, step=trainer.global_step)
            logger.save()
        write_scores(run_folder(trainer), {"audibility": value})
        print(f"audibility (A) {value:.3f} over {len(self.found)} clips", flush=True)
