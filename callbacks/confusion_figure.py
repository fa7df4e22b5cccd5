"""The confusion matrix of a classifier, drawn at the end of a test."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from torchmetrics.classification import MulticlassConfusionMatrix

from callbacks.caption_evaluation import run_folder


class ConfusionFigure(L.Callback):
    """Takes the `labels` and `predicted`, (B,) int64 each, that a stage's `test_step` returns.

    Writes confusion_matrix.png into the run folder, of the sentences of all ranks, and logs it to W&B. The names of the
    classes are the datamodule's `labels`.
    """

    def __init__(self) -> None:
        self.matrix: MulticlassConfusionMatrix | None = None

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count from nothing."""
        names = trainer.datamodule.labels  # type: ignore[attr-defined]
        self.matrix = MulticlassConfusionMatrix(len(names)).to(pl_module.device)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Count a batch."""
        if len(outputs["labels"]):
            assert self.matrix is not None
            self.matrix.update(outputs["predicted"], outputs["labels"])

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, on rank 0, what all ranks counted."""
        assert self.matrix is not None
        counts = self.matrix.compute()
        if trainer.is_global_zero:
            path = run_folder(trainer) / "confusion_matrix.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(counts.cpu(), trainer.datamodule.labels, str(path))  # type: ignore[attr-defined]
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image("test/confusion_matrix", [str(path)])
            print(f"written to {path}", flush=True)


def draw(counts: torch.Tensor, names: list[str], path: str) -> None:
    """Counts (classes, classes), a row for each label and a column for each prediction."""
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
