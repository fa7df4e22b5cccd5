"""python docs/figures/methods.py: docs/figures/methods.png, the three methods with a clip of the miniature."""

import io
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Patch

sys.path.insert(0, str(Path(__file__).parents[2]))  # as a script stands in a folder of its own

from datamodules.shards import read_index, read_samples
from miniature import ensure_split

TRAINED, FROZEN, TEXT = "#f6b26b", "#cfe2f3", "#ffffff"
CLIP = 3  # of audiocaps/test
HALF_HEIGHT = 0.26  # of a box


def read_clip() -> tuple[np.ndarray, np.ndarray, str]:
    """An image, a spectrogram in dB (frequency, time) and a caption."""
    with tempfile.TemporaryDirectory() as folder:
        ensure_split(Path(folder), "audiocaps/test", max_clips=CLIP + 1)
        (shard,) = read_index(Path(folder) / "audiocaps/test")
        sample = list(read_samples(shard, 0, CLIP + 1, lambda record: ("wav", "5.jpg")))[CLIP]
    samples, _ = soundfile.read(io.BytesIO(sample.media["wav"]))
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::128] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)).T[:160] ** 2
    image = np.asarray(Image.open(io.BytesIO(sample.media["5.jpg"])))
    return image, np.log10(power + 1e-4), sample.record["captions"][0]


class Drawing:
    """Boxes and arrows on axes whose unit is an inch."""

    def __init__(self, axes: Axes, image: np.ndarray, spectrogram: np.ndarray) -> None:
        self.axes, self.image, self.spectrogram = axes, image, spectrogram

    def box(self, x: float, y: float, text: str, colour: str, width: float = 1.3) -> None:
        """A box around (x, y)."""
        corner = (x - width / 2, y - HALF_HEIGHT)
        style = "round,pad=0,rounding_size=0.08" if colour != TEXT else "square,pad=0"
        edge = "#555555" if colour != TEXT else "none"
        self.axes.add_patch(FancyBboxPatch(corner, width, 2 * HALF_HEIGHT, style, facecolor=colour, edgecolor=edge))
        self.axes.text(x, y, text, ha="center", va="center", fontsize=8.5, style="italic" if colour == TEXT else None)

    def clip(self, x: float, y: float, audio: bool) -> None:
        """The clip's audio, or its image."""
        half = 0.42 if audio else HALF_HEIGHT
        extent = (x - half, x + half, y - HALF_HEIGHT, y + HALF_HEIGHT)
        shown = self.spectrogram if audio else self.image
        self.axes.imshow(shown, extent=extent, origin="lower" if audio else "upper", aspect="auto", cmap="magma")

    def arrow(self, start: tuple[float, float], end: tuple[float, float], style: str = "-|>") -> None:
        """From one point to another."""
        look = {"arrowstyle": style, "color": "#333333", "shrinkA": 2, "shrinkB": 2}
        self.axes.annotate("", end, start, arrowprops=look)


def main() -> None:
    """Draw."""
    plt.rcParams["font.family"] = "DejaVu Sans"
    figure, axes = plt.subplots(figsize=(11, 4.9))
    image, spectrogram, caption = read_clip()
    draw = Drawing(axes, image, spectrogram)
    words = caption.split()
    caption = " ".join(words[: len(words) // 2]) + "\n" + " ".join(words[len(words) // 2 :])
    for x, title in ((3.2, "training"), (8.3, "captioning")):
        axes.text(x, 4.65, title, ha="center", fontsize=11, weight="bold")
    for y, name in ((3.55, "DALI"), (2.05, "WSAC"), (0.8, "Audibility\nguidance")):
        axes.text(0.05, y, name, ha="left", va="center", fontsize=11, weight="bold")
    for y in (2.75, 1.42):
        axes.plot((0, 11), (y, y), color="#cccccc", linewidth=0.8)
    axes.plot((5.55, 5.55), (0.2, 4.75), color="#cccccc", linewidth=0.8)

    draw.clip(1.6, 3.95, audio=False)
    draw.box(3.0, 3.95, "LLaVA's\nvision tower", FROZEN)
    draw.clip(1.6, 3.2, audio=True)
    draw.box(3.0, 3.2, "audio encoder", TRAINED)
    for y, tokens in ((3.95, "image tokens"), (3.2, "audio tokens")):
        draw.arrow((2.04 if y < 3.5 else 1.88, y), (2.33, y))
        draw.arrow((3.67, y), (4.1, y))
        axes.text(4.6, y, tokens, ha="center", va="center", fontsize=8.5)
    draw.arrow((4.6, 3.83), (4.6, 3.32), "<|-|>")
    axes.text(4.68, 3.575, "distance", va="center", fontsize=8.5, style="italic")
    draw.clip(6.1, 3.55, audio=True)
    draw.box(7.45, 3.55, "audio encoder", FROZEN)
    draw.box(8.85, 3.55, "LLaVA,\n16 soft tokens", FROZEN, width=1.1)
    draw.arrow((6.54, 3.55), (6.78, 3.55))
    draw.arrow((8.12, 3.55), (8.28, 3.55))
    draw.arrow((9.42, 3.55), (9.68, 3.55))

    draw.box(1.7, 2.05, "caption", TEXT, width=0.7)
    draw.box(3.0, 2.05, "CLAP's\ntext encoder", FROZEN)
    draw.box(4.32, 2.05, "decoder", TRAINED, width=0.74)
    draw.box(5.2, 2.05, "caption", TEXT, width=0.6)
    for start, end in ((2.05, 2.33), (3.67, 3.93), (4.71, 4.93)):
        draw.arrow((start, 2.05), (end, 2.05))
    draw.clip(6.1, 2.05, audio=True)
    draw.box(7.25, 2.05, "CLAP's\naudio encoder", FROZEN, width=1.04)
    draw.box(8.31, 2.05, "strategy", FROZEN, width=0.62)
    draw.box(9.17, 2.05, "decoder", FROZEN, width=0.62)
    for start, end in ((6.54, 6.72), (7.78, 7.99), (8.63, 8.85), (9.49, 9.68)):
        draw.arrow((start, 2.05), (end, 2.05))

    draw.box(1.9, 0.8, "audible and inaudible\nsentences", TEXT, width=1.3)
    draw.box(3.5, 0.8, "text classifier", TRAINED)
    draw.arrow((2.6, 0.8), (2.83, 0.8))
    draw.clip(6.1, 1.05, audio=True)
    draw.box(7.35, 1.05, "matcher: CLAP\nor ImageBind", FROZEN, width=1.2)
    draw.box(7.35, 0.45, "text classifier", FROZEN, width=1.2)
    draw.box(8.85, 0.75, "GPT-2", FROZEN, width=0.9)
    draw.arrow((6.54, 1.05), (6.73, 1.05))
    draw.arrow((7.97, 1.05), (8.38, 0.82))
    draw.arrow((7.97, 0.45), (8.38, 0.68))
    draw.arrow((9.32, 0.75), (9.68, 0.75))
    axes.text(8.2, 1.12, "guides", ha="left", va="center", fontsize=8.5, style="italic")

    for y in (3.55, 2.05, 0.75):
        axes.text(9.72, y, caption, ha="left", va="center", fontsize=8.5, style="italic")
    axes.legend(
        handles=[Patch(facecolor=TRAINED, label="trained here"), Patch(facecolor=FROZEN, label="frozen")],
        loc="lower left", bbox_to_anchor=(0.0, -0.03), ncols=2, frameon=False, fontsize=8.5,
    )  # fmt: skip
    axes.set(xlim=(0, 11), ylim=(0, 4.9))
    axes.axis("off")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
