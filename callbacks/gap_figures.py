"""Figures and measures of the modality gap, at the end of a test (WSAC, Fig. 2 and 3)."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from callbacks.caption_evaluation import gathered, run_folder
from datamodules.contracts import EmbeddingStage, expect

SIDES = {"audio": "tab:blue", "captions": "tab:orange"}


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

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, *args: Any, **kwargs: Any
    ) -> None:
        """Keep the embeddings of all ranks' clips, on rank 0."""
        for rows in gathered(trainer, outputs):
            if isinstance(rows, dict) and "decoded" in rows:
                columns = (rows["clip_ids"], rows["audio"], rows["decoded"], rows["references"])
                for clip_id, audio, decoded, references in zip(*columns):
                    if references:  # a clip without any stops the evaluation
                        self.clips[clip_id] = audio, decoded, references[0]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and draw, on rank 0."""
        if not self.clips:
            return
        stage = expect(EmbeddingStage, pl_module, "the stage whose modality gap callbacks.gap_figures draws")
        of_audio, of_decoded, references = zip(*self.clips.values())
        self.clips = {}
        audio, decoded = torch.stack(of_audio).float(), torch.stack(of_decoded).float()
        text, trained = (side.float().cpu() for side in stage.text_embeddings(list(references)))
        before, after = (audio, text), (decoded, trained)
        numbers = {
            f"gap/{name}_{when}": value
            for when, pair in (("before", before), ("after", after))
            for name, value in measure_gap(*pair).items()
        }
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
            logger.save()
        print("  ".join(f"{name} {value:.3f}" for name, value in numbers.items()), flush=True)
        path = run_folder(trainer) / "modality_gap.png"
        first = slice(self.num_clips)
        draw([(left[first].numpy(), right[first].numpy()) for left, right in (before, after)], str(path))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("gap/embeddings", [str(path)])
        print(f"written to {path}", flush=True)


def measure_gap(audio: Tensor, text: Tensor) -> dict[str, float]:
    """The norm of the difference of the means, and the share of audio (N, D) that is nearest to its own text (N, D)."""
    similarity = F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T  # (N, N)
    # clips with the same caption count as right for one another
    own = similarity.diagonal() >= similarity.amax(1) - 1e-6
    return {"norm": (audio.mean(0) - text.mean(0)).norm().item(), "nearest_is_own": own.float().mean().item()}


def draw(pairs: Sequence[tuple[np.ndarray, np.ndarray]], path: str) -> None:
    """Draw audio and captions, (N, D) each, before and after the strategies: a row of t-SNE and one of PCA."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    number = len(pairs[0][0])
    for column, pair in enumerate(pairs):
        points = np.concatenate(pair)
        tsne = TSNE(perplexity=max(1, min(30, number // 3)), init="pca", max_iter=500, random_state=0)
        for row, (name, method) in enumerate((("t-SNE", tsne), ("PCA", PCA(2)))):
            flat = method.fit_transform(points)
            axis = axes[row, column]
            for side, part in zip(SIDES, (flat[:number], flat[number:])):
                axis.scatter(*part.T, s=6, alpha=0.6, color=SIDES[side], label=side)
            axis.set(title=f"{name}, {('before', 'after')[column]}", xticks=[], yticks=[])
    axes[0, 0].legend()
    figure.savefig(path, dpi=120)
