"""Figures at the end of a test: the modality gap (WSAC, Fig. 2 and 3) and a classifier's confusion matrix."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from callbacks.caption_evaluation import gathered
from datamodules.contracts import EmbeddingStage, SentenceSource, datamodule_of, expect
from earshot.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ConfusionFigure(L.Callback):
    """Draws the `labels` and `predicted`, (B,) int64 each, that a stage's `test_step` returns.

    confusion_matrix.png, over the sentences of all ranks, goes into the run folder and to W&B. The datamodule names the
    classes (`datamodules.contracts.SentenceSource`).
    """

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start from zero counts."""
        self.labels = datamodule_of(trainer, SentenceSource).labels
        self.matrix = MulticlassConfusionMatrix(len(self.labels)).to(pl_module.device)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *args: Any) -> None:
        """Count a batch."""
        if len(outputs["labels"]):
            self.matrix.update(outputs["predicted"], outputs["labels"])

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sum the counts of all ranks, and draw them on rank 0."""
        from matplotlib.figure import Figure

        counts = self.matrix.compute()
        if trainer.is_global_zero:
            figure = Figure(figsize=(4, 3.5), layout="constrained")
            self.matrix.plot(counts, ax=figure.subplots(), labels=self.labels, cmap="Blues")
            save_figure(trainer, figure, "confusion_matrix", "test/confusion_matrix")


class GapFigures(L.Callback):
    """Draws audio and caption embeddings before and after the strategies: t-SNE and PCA, side by side.

    The audio embeddings are those that a stage's `test_step` returns beside its captions (`EmbeddedCaptionRows`). The
    stage embeds the first reference of each clip (`datamodules.contracts.EmbeddingStage`). modality_gap.png goes into
    the run folder and to W&B; the loggers get the norm of the gap, and the share of clips whose audio embedding is
    nearest to the embedding of their own caption, before and after.

    Args:
        num_clips: how many clips are drawn at most.
    """

    def __init__(self, num_clips: int = 500) -> None:
        self.num_clips = num_clips
        self.clips: dict[str, tuple[Tensor, Tensor, str]] = {}  # by id: audio, what was decoded, the first reference

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: object, *args: Any) -> None:
        """Keep the embeddings of all ranks' clips, on rank 0."""
        for rows in gathered(trainer, outputs):
            if isinstance(rows, dict) and "decoded" in rows:
                columns = (rows["clip_ids"], rows["audio"], rows["decoded"], rows["references"])
                for clip_id, audio, decoded, references in zip(*columns):
                    if references:  # a clip without any counts in no score
                        self.clips[clip_id] = audio, decoded, references[0]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and draw, on rank 0."""
        if not self.clips:
            return
        stage = expect(EmbeddingStage, pl_module, "the stage whose modality gap callbacks.figures draws")
        of_audio, of_decoded, references = zip(*self.clips.values())
        self.clips = {}
        audio, decoded = torch.stack(of_audio).float(), torch.stack(of_decoded).float()
        text, trained = (side.float().cpu() for side in stage.text_embeddings(list(references)))
        pairs = {"before": (audio, text), "after": (decoded, trained)}
        numbers = {
            f"gap/{name}_{when}": value for when, pair in pairs.items() for name, value in measure_gap(*pair).items()
        }
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
            logger.save()
        print("  ".join(f"{name} {value:.3f}" for name, value in numbers.items()), flush=True)
        shown = {when: (left[: self.num_clips], right[: self.num_clips]) for when, (left, right) in pairs.items()}
        save_figure(trainer, draw(shown), "modality_gap", "gap/embeddings")


def save_figure(trainer: L.Trainer, figure: "Figure", name: str, key: str) -> None:
    """Write <name>.png into the run folder, log it to W&B as `key`, and print where it is; on rank 0."""
    path = Path(trainer.default_root_dir, f"{name}.png")
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)])
    print(f"written to {path}", flush=True)


def measure_gap(audio: Tensor, text: Tensor) -> dict[str, float]:
    """The norm of the difference of the means, and the share of audio (N, D) that is nearest to its own text (N, D)."""
    similarity = F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T  # (N, N)
    # clips with the same caption count as right for one another
    own = similarity.diagonal() >= similarity.amax(1) - 1e-6
    return {"norm": (audio.mean(0) - text.mean(0)).norm().item(), "nearest_is_own": own.float().mean().item()}


def draw(pairs: dict[str, tuple[Tensor, Tensor]]) -> "Figure":
    """Draw pairs of audio and captions, (N, D) each, by title: a row of t-SNE and one of PCA."""
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(2, len(pairs))
    for column, (when, pair) in zip(axes.T, pairs.items()):
        number = len(pair[0])
        tsne = TSNE(perplexity=max(1, min(30, number // 3)), init="pca", max_iter=500, random_state=0)
        for axis, method in zip(column, (tsne, PCA(2))):
            flat = method.fit_transform(np.concatenate(pair))
            axis.scatter(*flat[:number].T, s=6, alpha=0.6, label="audio")
            axis.scatter(*flat[number:].T, s=6, alpha=0.6, label="captions")
            axis.set(title=f"{type(method).__name__}, {when}", xticks=[], yticks=[])
    axes[0, 0].legend()
    return figure
