"""Progress in log files: a line now and then instead of a progress bar."""

import time
from typing import Any

import lightning as L


class ProgressLines(L.Callback):
    """Print `fit epoch 3/20 step 120/400, 8.3 steps/s, train/loss 0.42` when there is no progress bar.

    Args:
        seconds: the least time between two lines; one more is printed at the end of a command.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self.loop = ""
        self.steps = 0
        self.began = self.printed = time.monotonic()
        self.last = ""  # of the command's own loop: in fit, not of validation

    def step(self, trainer: L.Trainer, loop: str, step: int, total: float) -> None:
        """Count a step of the loop, and print when it is time."""
        now = time.monotonic()
        if loop != self.loop:
            self.loop, self.began, self.steps = loop, now, 0  # the first step includes start-up: left out
        else:
            self.steps += 1
        rate = f", {self.steps / (now - self.began):.3g} steps/s" if self.steps else ""
        text = f"{loop} step {step}/{total}{rate}"
        if trainer.state.fn is not None and loop.startswith(trainer.state.fn.value):
            self.last = text
        if now - self.printed >= self.seconds:
            self.print(trainer, text)

    def print(self, trainer: L.Trainer, text: str) -> None:
        """Print a line with the metrics that a progress bar would show."""
        if trainer.is_global_zero and trainer.progress_bar_callback is None and text:
            metrics = [f", {name} {value:.4g}" for name, value in trainer.progress_bar_metrics.items()]
            print(text + "".join(metrics), flush=True)
        self.printed = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Step of training."""
        epochs = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        loop = f"fit epoch {trainer.current_epoch + 1}{epochs}"
        self.step(trainer, loop, batch_idx + 1, trainer.num_training_batches)

    def _evaluated(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Step of validation, testing or prediction; none of the sanity check before a training run."""
        loop = trainer.state.stage and trainer.state.stage.value
        batches = {
            "validate": trainer.num_val_batches,
            "test": trainer.num_test_batches,
            "predict": trainer.num_predict_batches,
        }
        if loop is not None and loop in batches:
            self.step(trainer, loop, batch_idx + 1, sum(batches[loop]))

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _evaluated

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """The last line."""
        self.print(trainer, self.last)
