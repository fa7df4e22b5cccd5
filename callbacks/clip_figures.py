"""Figures of what a test or a prediction makes of its clips: spectrograms with captions, and a filter's distances."""

import textwrap
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from callbacks.caption_evaluation import are_captions, gathered
from callbacks.figures import publish
from datamodules.clips import ClipBatch, LabelDistance
from datamodules.contracts import ClipStage
from earshot.drawing import AUDIO, IMAGE, drawn, spectrogram

COLUMNS, LINE = 3, 38  # of spectrograms beside each other; characters of a caption in a line


class SpectrogramFigure(L.Callback):
    """Draw the first clips of a test as spectrograms, with their captions and a reference.

    spectrograms.png and .svg go into the run folder and to W&B. Stages that read no audio are left alone.

    Args:
        num_clips: how many clips are drawn.
    """

    def __init__(self, num_clips: int = 6) -> None:
        self.num_clips = num_clips
        self.clips: list[tuple[np.ndarray, int, str]] = []  # samples, sampling rate, what stands above

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Keep the first clips of rank 0."""
        if not (trainer.is_global_zero and are_captions(outputs) and isinstance(batch, ClipBatch)):
            return
        rate = pl_module.clip_format("test").sampling_rate if isinstance(pl_module, ClipStage) else None
        if batch.waveforms is None or batch.num_samples is None or rate is None:
            return
        for number, caption in enumerate(outputs["captions"][: self.num_clips - len(self.clips)]):
            samples = batch.waveforms[number, : int(batch.num_samples[number])].cpu().numpy()
            wanted = f" (wanted: {batch.captions[number][0]})" if batch.captions[number] else ""
            heading = textwrap.shorten(f"{caption}{wanted}", 3 * LINE, placeholder=" ...")
            self.clips.append((samples, rate, textwrap.fill(heading, LINE)))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw them."""
        if self.clips:
            path = Path(trainer.default_root_dir, "spectrograms")
            draw_spectrograms(path, type(pl_module).__name__, self.clips)
            self.clips = []
            publish(trainer, {"figures/spectrograms": path})


class FilterFigure(L.Callback):
    """Draw how far clips are from their labels (DALI, Fig. 8): the `LabelDistance`s that a stage predicts.

    distances.png and .svg, over the clips of all ranks, go into the run folder and to W&B.

    Args:
        kept: the share of the clips that is to be kept, of which the figure shows the greatest distance; the paper
            keeps 500,000 of AudioSet's clips, and None shows no share.
    """

    def __init__(self, kept: float | None = None) -> None:
        self.kept = kept
        self.distances: dict[str, float] = {}

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *args: Any) -> None:
        """Keep the distances of all ranks, on rank 0."""
        for rows in gathered(trainer, outputs):
            known = (row for row in rows or [] if isinstance(row, LabelDistance) and row.distance is not None)
            self.distances |= {row.clip_id: float(row.distance) for row in known if row.distance is not None}

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw them."""
        if self.distances:
            path = Path(trainer.default_root_dir, "distances")
            draw_distances(path, np.array(list(self.distances.values())), self.kept)
            publish(trainer, {"figures/distances": path})


def draw_spectrograms(path: Path, stage: str, clips: list[tuple[np.ndarray, int, str]]) -> None:
    """A panel for each clip."""
    rows, columns = -(-len(clips) // COLUMNS), min(COLUMNS, len(clips))
    with drawn(path, f"{stage}, the first {len(clips)} test clips", 3.0 * columns, 2.5 * rows, rows, columns) as axes:
        for axis in axes.flat[len(clips) :]:
            axis.set_visible(False)
        for axis, (samples, rate, heading) in zip(axes.flat, clips):
            spectrogram(axis, samples, rate)
            axis.set_title(heading, fontsize=7.5, parse_math=False)


def draw_distances(path: Path, distances: np.ndarray, kept: float | None) -> None:
    """A histogram of the distances (N,), with their median and the greatest that is kept."""
    median = float(np.median(distances))
    title = f"What is seen against the labels, N = {len(distances)} clips, median {median:.3f}"
    with drawn(path, title, 5.2, 3.0) as axes:
        axis = axes[0, 0]
        axis.hist(distances, bins=min(60, max(5, len(distances) // 4)), color=IMAGE, alpha=0.8)
        axis.axvline(median, color="black", linestyle=":", label=f"median {median:.3f}")
        if kept is not None:
            edge = float(np.quantile(distances, kept))
            axis.axvline(edge, color=AUDIO, linestyle="--", label=f"nearest {kept:.0%}: up to {edge:.3f}")
        axis.set(xlabel="1 - cosine of a frame's caption and the labels, mean over the frames", ylabel="clips")
        axis.legend(loc="best")
