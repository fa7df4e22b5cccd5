"""Progress in log files: a line now and then instead of a progress bar."""

import math
import time
from typing import Any

import lightning as L

from earshot.terminal import duration


class ProgressLines(L.Callback):
    """Print `fit epoch 3/20 step 120/400, 8.3 steps/s, 14 min left, train/loss 0.42` when there is no progress bar.

    Args:
        seconds: the least time between two lines; one more is printed at the end of a command.
        first: after how many seconds the first line comes.
    """

    def __init__(self, seconds: float = 30.0, first: float = 10.0) -> None:
        self.seconds = seconds
        self.wait = min(first, seconds)  # until the next line
        self.loop = ""
        self.steps = 0
        self.began = self.printed = time.monotonic()
        self.last = ""  # of the command's own loop: in fit, not of validation
        self.shown = ""  # the line that was printed last

    def step(self, trainer: L.Trainer, loop: str, step: int, total: float, left: float) -> None:
        """Count a step of the loop, after which `left` come, and print when it is time."""
        now = time.monotonic()
        if loop != self.loop:
            self.loop, self.began, self.steps = loop, now, 0  # the first step includes start-up: left out
        else:
            self.steps += 1
        rate = ""
        if self.steps and now > self.began:
            speed = self.steps / (now - self.began)
            rate = f", {speed:.3g} steps/s"
            rate += f", {duration(left / speed)} left" if 0 < left < math.inf else ""
        text = f"{loop} step {step}/{total}{rate}"
        if trainer.state.fn is not None and loop.startswith(trainer.state.fn.value):
            self.last = text
        if now - self.printed >= self.wait:
            self.wait = self.seconds
            self.print(trainer, text)

    def print(self, trainer: L.Trainer, text: str) -> None:
        """Print a line with the metrics that a progress bar would show, once."""
        if trainer.is_global_zero and trainer.progress_bar_callback is None and text and text != self.shown:
            metrics = [f", {name} {value:.4g}" for name, value in trainer.progress_bar_metrics.items()]
            print(text + "".join(metrics), flush=True)
        self.printed, self.shown = time.monotonic(), text

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Step of training."""
        epochs = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        loop = f"fit epoch {trainer.current_epoch + 1}{epochs}"
        batches = trainer.num_training_batches
        accumulated = max(1, trainer.accumulate_grad_batches)
        of_epochs = ((trainer.max_epochs or 0) - trainer.current_epoch) * batches if epochs else math.inf
        of_steps = (trainer.max_steps - trainer.global_step) * accumulated if trainer.max_steps >= 0 else math.inf
        self.step(trainer, loop, batch_idx + 1, batches, min(of_epochs - batch_idx - 1, of_steps))

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
            total = sum(batches[loop])
            self.step(trainer, loop, batch_idx + 1, total, total - batch_idx - 1)

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _evaluated

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """The last line, before what is printed about results."""
        self.print(trainer, self.last)

    on_test_end = on_predict_end = on_train_end

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """The last line of a validation that is no part of fit."""
        if trainer.state.fn == "validate":
            self.print(trainer, self.last)
