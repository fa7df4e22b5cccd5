"""Pictures and numbers of the modality gap, at the end of a test (WSAC, Fig. 2 and 3)."""

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from callbacks.caption_evaluation import gathered, run_folder

SIDES = {"sounds": "tab:blue", "captions": "tab:orange"}


class GapFigures(L.Callback):
    """Where sounds and captions lie before a strategy and after it: t-SNE and PCA, side by side.

    Takes the embeddings that a stage's `test_step` returns beside its captions (`EmbeddedCaptionRows`); the text
    embeddings of the clips' first references come from the stage (`text_embeddings`, with and without its training
    strategies). Writes modality_gap.png into the run folder, logs it to W&B, and logs the norm of the gap and the
    share of sounds whose nearest caption is their own, before and after.

    Args:
        num_clips: at most so many are drawn.
    """

    def __init__(self, num_clips: int = 500) -> None:
        self.num_clips = num_clips
        self.clips: dict[str, tuple[Tensor, Tensor, str]] = {}  # by id: sound, what was decoded for it, its reference

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep the embeddings of all ranks' clips, on rank 0."""
        for rows in gathered(trainer, outputs):
            if isinstance(rows, dict) and "decoded" in rows:
                columns = (rows["clip_ids"], rows["audio"], rows["decoded"], rows["references"])
                for clip_id, audio, decoded, references in zip(*columns):
                    if references:  # one without stops the evaluation
                        self.clips[clip_id] = audio, decoded, references[0]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and draw, on rank 0."""
        if not self.clips:
            return
        sounds, heard, references = zip(*self.clips.values())
        self.clips = {}
        audio, decoded = torch.stack(sounds).float(), torch.stack(heard).float()
        text, trained = (side.float().cpu() for side in pl_module.text_embeddings(list(references)))  # type: ignore
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
        draw([tuple(side[: self.num_clips].numpy() for side in pair) for pair in (before, after)], str(path))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("gap/embeddings", [str(path)])
        print(f"written to {path}", flush=True)


def measure_gap(audio: Tensor, text: Tensor) -> dict[str, float]:
    """The norm of the difference of the means, and the share of sounds (N, D) nearest to their own text (N, D)."""
    similarity = F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T  # (N, N)
    # captions that are the same word for word are one caption
    own = similarity.diagonal() >= similarity.amax(1) - 1e-6
    return {"norm": (audio.mean(0) - text.mean(0)).norm().item(), "nearest_is_own": own.float().mean().item()}


def draw(pairs: list[Any], path: str) -> None:
    """Sounds and captions of two pairs (N, D), before and after: a row of t-SNE and one of PCA."""
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
