"""The confusion matrix of a classifier, at the end of a test."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from torchmetrics.classification import MulticlassConfusionMatrix

from callbacks.caption_evaluation import run_folder
from datamodules.contracts import SentenceSource, datamodule_of


class ConfusionFigure(L.Callback):
    """Draws the `labels` and `predicted`, (B,) int64 each, that a stage's `test_step` returns.

    confusion_matrix.png, over the sentences of all ranks, goes into the run folder and to W&B. The datamodule names the
    classes (`datamodules.contracts.SentenceSource`).
    """

    def __init__(self) -> None:
        self.matrix: MulticlassConfusionMatrix | None = None

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start from zero counts."""
        labels = datamodule_of(trainer, SentenceSource).labels
        self.matrix = MulticlassConfusionMatrix(len(labels)).to(pl_module.device)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Count a batch."""
        if len(outputs["labels"]):
            assert self.matrix is not None
            self.matrix.update(outputs["predicted"], outputs["labels"])

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sum the counts of all ranks, and draw them on rank 0."""
        assert self.matrix is not None
        counts = self.matrix.compute()
        if trainer.is_global_zero:
            path = run_folder(trainer) / "confusion_matrix.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(counts.cpu(), datamodule_of(trainer, SentenceSource).labels, str(path))
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image("test/confusion_matrix", [str(path)])
            print(f"written to {path}", flush=True)


def draw(counts: torch.Tensor, names: list[str], path: str) -> None:
    """Draw counts (classes, classes), with a row for each label and a column for each prediction."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.imshow((counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy(), cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axis.set(xticks=ticks, yticks=ticks, xticklabels=names, yticklabels=names, xlabel="predicted", ylabel="label")
    for row in ticks:
        for column in ticks:
            share = counts[row, column] / counts[row].sum().clamp(min=1)
            colour = "white" if share > 0.5 else "black"
            axis.text(column, row, f"{int(counts[row, column])}", ha="center", va="center", color=colour)
    figure.savefig(path, dpi=120)
