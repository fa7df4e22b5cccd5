"""Figures at the end of a test: the modality gap (WSAC, Fig. 2 and 3) and a classifier's confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from callbacks.caption_evaluation import gathered
from datamodules.contracts import EmbeddingStage, SentenceSource, datamodule_of, expect, training_texts
from earshot.drawing import AUDIO, OTHER, TEXT, drawn, scatter
from earshot.errors import InputError


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
        counts = self.matrix.compute()
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir, "confusion_matrix")
            draw_confusion(path, counts.cpu().numpy(), self.labels)
            publish(trainer, {"test/confusion_matrix": path})


class GapFigures(L.Callback):
    """Draws audio and caption embeddings before and after the strategies: t-SNE and PCA, side by side.

    The audio embeddings are those that a stage's `test_step` returns beside its captions (`EmbeddedCaptionRows`). The
    stage embeds the first reference of each clip (`datamodules.contracts.EmbeddingStage`), and as many of the captions
    that it was trained on, where these can be read. modality_gap.png and .svg go into the run folder and to W&B; the
    loggers get the norm of the gap, and the share of clips whose audio embedding is nearest to that of their own
    caption, before and after.

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
        try:
            known = sorted(set(training_texts(trainer)) - set(references))
        except InputError as error:  # test reads no training split, and an export may come from elsewhere
            print(f"the figure is drawn without training captions: {error}", flush=True)
            known = []
        known = known[:: max(1, len(known) // self.num_clips)][: self.num_clips]  # a part of them, drawn evenly
        learnt = [side.float().cpu() for side in stage.text_embeddings(known)] if known else [text[:0]] * 2
        titles = {
            when: f"{when} strategies: gap {numbers[f'gap/norm_{when}']:.2f}, own caption nearest "
            f"{numbers[f'gap/nearest_is_own_{when}']:.0%}"
            for when in pairs
        }
        panels = {
            titles[when]: [side[: self.num_clips].numpy() for side in (*pairs[when], trained)]
            for when, trained in zip(pairs, learnt)
        }
        path = Path(trainer.default_root_dir, "modality_gap")
        gaps = " to ".join(f"{numbers[f'gap/norm_{when}']:.2f}" for when in pairs)
        number = min(len(audio), self.num_clips)
        title = f"Audio and caption embeddings of {path.parent.parent.name}: gap {gaps}\nN = {number} clips"
        draw(path, title + (f", {len(known)} training captions" if known else ""), panels)
        publish(trainer, {"gap/embeddings": path})


def publish(trainer: L.Trainer, figures: Mapping[str, Path], tell: bool = True) -> None:
    """Log <path>.png to W&B under each key, and print where they are; on rank 0."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            for key, path in figures.items():
                logger.log_image(key, [f"{path}.png"], step=trainer.global_step)
    if tell:
        print(f"figures: {', '.join(f'{path}.png' for path in figures.values())}, and .svg beside", flush=True)


def draw_confusion(path: Path, counts: np.ndarray, labels: Sequence[str]) -> None:
    """Counts (labels, labels): a row for each true class, a column for each that was predicted."""
    total, right = counts.sum(), counts.trace()
    with drawn(path, f"Confusion, N = {total} sentences, {right / max(1, total):.1%} right", 3.8, 3.4) as axes:
        axis = axes[0, 0]
        shown = axis.imshow(counts, cmap="Blues", vmin=0)
        for row, column in np.ndindex(counts.shape):
            dark = counts[row, column] > counts.max() / 2
            axis.text(column, row, counts[row, column], ha="center", va="center", color="white" if dark else "black")
        axis.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 3 else 0)
        axis.set_yticks(range(len(labels)), labels)
        axis.set(xlabel="predicted", ylabel="true")
        axis.figure.colorbar(shown, ax=axis, label="sentences")


def measure_gap(audio: Tensor, text: Tensor) -> dict[str, float]:
    """The norm of the difference of the means, and the share of audio (N, D) that is nearest to its own text (N, D)."""
    similarity = F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T  # (N, N)
    # clips with the same caption count as right for one another
    own = similarity.diagonal() >= similarity.amax(1) - 1e-6
    return {"norm": (audio.mean(0) - text.mean(0)).norm().item(), "nearest_is_own": own.float().mean().item()}


def draw(path: Path, title: str, panels: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Draw audio, captions and training captions, (N, D) each, by title: a row of t-SNE and one of PCA.

    Training captions, of which there may be none, are drawn and not fitted by PCA.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    with drawn(path, title, 4.4 * len(panels), 7.4, rows=2, columns=len(panels)) as axes:
        for column, (heading, (audio, text, trained)) in zip(axes.T, panels.items()):
            number, together = len(audio), np.concatenate([audio, text, trained])
            tsne = TSNE(perplexity=max(1, min(30, len(together) // 4)), init="pca", max_iter=500, random_state=0)
            pca = PCA(2).fit(np.concatenate([audio, text]))
            for axis, name, flat in zip(
                column, ("t-SNE", "PCA"), (tsne.fit_transform(together), pca.transform(together))
            ):
                if len(trained):
                    scatter(axis, flat[2 * number :], OTHER, "training captions")
                scatter(axis, flat[number : 2 * number], TEXT, "captions")
                scatter(axis, flat[:number], AUDIO, "audio")
                axis.set_title(f"{name}, {heading}" if name == "t-SNE" else name)
                axis.set(
                    **{f"{side}label": f"component {place}" for place, side in ((1, "x"), (2, "y")) if name == "PCA"}
                )
        axes[0, 0].legend(loc="best")
