"""The end of a command on the terminal: where the run lies, how good it is, how fast it was, what comes next."""

import resource
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden
from rich import get_console

from callbacks.caption_evaluation import CaptionEvaluation
from datamodules.clips import CaptionBatch, ClipBatch, SentenceBatch
from earshot.provenance import program
from earshot.terminal import duration

DROPPED = ("--ckpt_path", "--trainer.max_steps", "--trainer.max_epochs")  # of fit, not of the test after it


class RunSummary(L.Callback):
    """Print what trains at the start of fit, and a few lines at the end of every command, on rank 0.

    The speed counts no start-up and, in fit, no validation. The memory is the most that the GPU's tensors took, or on a
    CPU the most that this process took, libraries included.

    Attributes:
        arguments: those of this command; `TrainCLI` fills them in.
    """

    def __init__(self) -> None:
        self.arguments: Sequence[str] = ()
        self.began = time.monotonic()
        self.since: float | None = None  # when the last counted batch ended
        self.items, self.seconds, self.unit = 0, 0.0, ""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say which parts train, in place of Lightning's table of all parts."""
        if trainer.is_global_zero:
            parts_of = [*((name, part.parameters()) for name, part in pl_module.named_children())]
            parts_of += [(name, iter((weight,))) for name, weight in pl_module.named_parameters(recurse=False)]
            sizes = {name: sum(one.numel() for one in weights if one.requires_grad) for name, weights in parts_of}
            parts = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
            _print(f"{type(pl_module).__name__} trains {sum(sizes.values()):,} parameters ({parts})")

    def _count(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.state.fn == "fit" and trainer.validating:
            return
        now = time.monotonic()
        if self.since is not None:
            number, self.unit = size_of(batch)
            self.items += number * trainer.world_size
            self.seconds += now - self.since
        self.since = now

    on_train_batch_end = on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _count

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time spent on validation is not training's."""
        self.since = None
        if trainer.state.fn == "validate":
            self._end_bar(trainer, pl_module)

    def _end_bar(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What other callbacks and the summary say comes below the bar, which would else be drawn again below them."""
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.teardown(trainer, pl_module, "")

    on_train_end = on_test_end = on_predict_end = _end_bar

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Print the summary."""
        if trainer.is_global_zero and trainer.state.fn is not None:
            lines = {
                "run": f"{trainer.default_root_dir}/",
                "result": result(trainer),
                "speed": f"{self.items / self.seconds:.3g} {self.unit} a second" if self.seconds and self.items else "",
                "memory": f"{peak_memory(trainer) / 2**30:.2f} GiB at most",
                "next": self.next_command(trainer, pl_module),
            }
            _print(f"{trainer.state.fn.value} took {duration(time.monotonic() - self.began)}")
            for name, text in lines.items():
                if text:
                    _print(f"  {name:8}{text}")

    def next_command(self, trainer: L.Trainer, pl_module: L.LightningModule) -> str:
        """After fit its test, after test the table of this run; nothing where there is neither."""
        folder = Path(trainer.default_root_dir)
        if trainer.state.fn == "test" and captions_of(trainer):
            return shlex.join(["python", "-m", "reports", "compare", f"{folder.parent.name}={folder}"])
        if trainer.state.fn != "fit" or not is_overridden("test_step", pl_module, L.LightningModule):
            return ""
        words, left_out = [], False
        for word in self.arguments:
            if not left_out and word.partition("=")[0] not in DROPPED:
                words.append("test" if word == "fit" and "test" not in words else word)
            left_out = word in DROPPED
        called = program(Path(sys.argv[0]))
        called = called if called[-1].endswith("train.py") else ["earshot", "train"]
        return shlex.join([*called, *words]) if words else ""


def result(trainer: L.Trainer) -> str:
    """The score that matters: of fit the best validation loss, of test CIDEr-D, of others what was logged."""
    if trainer.state.fn == "fit":
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
                path = Path(callback.best_model_path)
                return (
                    f"{callback.monitor} {callback.best_model_score.item():.4g} at best, {path.parent.name}/{path.name}"
                )
        return ""
    if trainer.state.fn == "test" and (captions := captions_of(trainer)):
        return captions
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return ", ".join(f"{name} {value:.4g}" for name, value in logged.items())


def captions_of(trainer: L.Trainer) -> str:
    """The headline of the captions that were scored; nothing where none were."""
    found = [each for each in vars(trainer)["callbacks"] if isinstance(each, CaptionEvaluation)]
    return found[0].headline if found else ""


def size_of(batch: object) -> tuple[int, str]:
    """How many of what a batch has; 0 of a kind that is not known."""
    match batch:
        case ClipBatch():
            return len(batch.clip_ids), "clips"
        case CaptionBatch():
            return len(batch.captions), "captions"
        case SentenceBatch():
            return len(batch.texts), "sentences"
    return 0, ""


def peak_memory(trainer: L.Trainer) -> int:
    """In bytes."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _print(text: str) -> None:
    """Above the progress bar, where there is one; Lightning's bar is on rich's console."""
    get_console().print(text, soft_wrap=True, markup=False, highlight=False)
