"""Figures of what a test or a prediction makes of its clips: spectrograms with captions, and a filter's distances."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np

from callbacks.caption_evaluation import are_captions, gathered
from callbacks.figures import publish
from datamodules.clips import ClipBatch, LabelDistance
from datamodules.contracts import ClipStage
from earshot.drawing import AUDIO, IMAGE, drawn, picture, spectrogram

COLUMNS, LINE = 3, 38  # of spectrograms beside each other; characters of a caption in a line
SHOWN, NARROW = 3, 32  # clips at each end of a filter's distances; characters of a line above their frames


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
            heading = textwrap.fill(f"{caption}{wanted}", LINE, max_lines=3, placeholder=" ...")
            self.clips.append((samples, rate, heading))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw them."""
        if self.clips:
            path = Path(trainer.default_root_dir, "spectrograms")
            draw_spectrograms(path, path.parent.parent.name, self.clips)
            self.clips = []
            publish(trainer, {"figures/spectrograms": path})


class Seen(NamedTuple):
    """A clip of a filter with what its distance is of."""

    distance: float
    clip_id: str
    labels: str
    caption: str
    frame: np.ndarray  # (3, H, W) uint8


class FilterFigure(L.Callback):
    """Draw how far clips are from their labels (DALI, Fig. 8): the `LabelDistance`s that this run of predict found.

    distances.png and .svg go into the run folder and to W&B: a histogram over the clips of all ranks, and of those of
    rank 0 the nearest and the farthest, each with its middle frame, what was seen there and its labels.

    Args:
        kept: the share of the clips that is to be kept, of which the figure shows the greatest distance; the paper
            keeps 500,000 of AudioSet's clips, and None shows no share.
    """

    def __init__(self, kept: float | None = None) -> None:
        self.kept = kept
        self.distances: dict[str, float] = {}
        self.nearest: list[Seen] = []
        self.farthest: list[Seen] = []

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Keep the distances of all ranks, on rank 0, and the frames at both ends."""
        for rows in gathered(trainer, outputs):
            known = (row for row in rows or [] if isinstance(row, LabelDistance) and row.distance is not None)
            self.distances |= {row.clip_id: float(row.distance) for row in known if row.distance is not None}
        if trainer.is_global_zero and isinstance(batch, ClipBatch):
            found = list(seen(outputs or [], batch))
            self.nearest = sorted([*self.nearest, *found], key=lambda clip: clip.distance)[:SHOWN]
            self.farthest = sorted([*self.farthest, *found], key=lambda clip: -clip.distance)[:SHOWN]

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw them."""
        if self.distances:
            path = Path(trainer.default_root_dir, "distances")
            draw_distances(path, np.array(list(self.distances.values())), self.kept, self.nearest, self.farthest)
            publish(trainer, {"figures/distances": path})


def seen(rows: Sequence[Any], batch: ClipBatch) -> Iterator[Seen]:
    """The clips of a batch that have a distance and images, each with the middle one."""
    if batch.images is None or batch.num_images is None:
        return
    ends = batch.num_images.cumsum(0).tolist()
    for row, number, end in zip(rows, batch.num_images.tolist(), ends):
        if isinstance(row, LabelDistance) and row.distance is not None and number:
            middle = number // 2
            frame = batch.images[end - number + middle].cpu().numpy()
            caption = row.captions[middle] if middle < len(row.captions) else ""
            yield Seen(float(row.distance), row.clip_id, ", ".join(row.labels), caption, frame)


def draw_spectrograms(path: Path, run: str, clips: list[tuple[np.ndarray, int, str]]) -> None:
    """A panel for each clip."""
    rows, columns = -(-len(clips) // COLUMNS), min(COLUMNS, len(clips))
    title = f"Captions of {run}, the first N = {len(clips)} test clips"
    with drawn(path, title, 3.0 * columns, 2.5 * rows, rows, columns) as axes:
        for axis in axes.flat[len(clips) :]:
            axis.set_visible(False)
        for axis, (samples, rate, heading) in zip(axes.flat, clips):
            spectrogram(axis, samples, rate)
            axis.set_title(heading, fontsize=7.5, parse_math=False)


def draw_distances(
    path: Path,
    distances: np.ndarray,
    kept: float | None,
    nearest: Sequence[Seen] = (),
    farthest: Sequence[Seen] = (),
) -> None:
    """A histogram of the distances (N,), with their median and the greatest that is kept, and clips of both ends."""
    median = float(np.median(distances))
    title = f"Distance of what is seen from the labels, N = {len(distances)} clips, median {median:.3f}"
    columns = max(len(nearest), len(farthest))
    with drawn(path, title, 5.0 + 1.8 * columns, 4.2 if columns else 3.2, 2, 2 + columns) as axes:
        figure, grid = axes[0, 0].figure, axes[0, 0].get_gridspec()
        for axis in axes[:, :2].flat:
            axis.remove()
        axis = figure.add_subplot(grid[:, :2])
        axis.hist(distances, bins=min(60, max(5, len(distances) // 4)), color=IMAGE, alpha=0.8)
        axis.axvline(median, color="black", linestyle=":", label=f"median {median:.3f}")
        if kept is not None:
            edge = float(np.quantile(distances, kept))
            axis.axvline(edge, color=AUDIO, linestyle="--", label=f"nearest {kept:.0%}: up to {edge:.3f}")
        axis.set(xlabel="1 - cosine of a frame's caption and the labels,\nmean over the frames", ylabel="clips")
        axis.legend(loc="best")
        words = ("nearest", "farthest") if kept is None else ("kept", "left out")
        for row, (word, clips) in enumerate(zip(words, (nearest, farthest))):
            for place, clip in zip(axes[row, 2:], clips):
                picture(place, clip.frame)
                said = textwrap.fill(f"seen: {clip.caption}", NARROW, max_lines=2, placeholder=" ...")
                labels = textwrap.shorten(f"labels: {clip.labels}", NARROW, placeholder=" ...")
                heading = f"{word}: {clip.distance:.3f}\n{said}\n{labels}"
                place.set_title(heading, fontsize=7, parse_math=False)
            for place in axes[row, 2 + len(clips) :]:
                place.set_visible(False)
