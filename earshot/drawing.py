"""One look for all figures: sizes, colours that colour-blind readers tell apart, spectrograms, PNG and SVG files."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earshot.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AUDIO, IMAGE, TEXT, OTHER = "#D55E00", "#0072B2", "#009E73", "#999999"  # Okabe and Ito's palette
MARKERS = {AUDIO: "o", IMAGE: "s", TEXT: "^", OTHER: "."}  # shapes too, for prints without colours
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.fontsize": 8,
    "legend.frameon": True,  # a veil, so that words stay readable above points
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "figure.titlesize": 10,
    "lines.linewidth": 1.6,
    "savefig.dpi": 160,
    "svg.fonttype": "none",  # words in the SVG stay words
    "svg.hashsalt": "earshot",  # the same figure is the same file
}
LETTERS = 12  # of a figure's title that fit into an inch
DECIBELS = 60.0  # the range that a spectrogram shows
BANDS, FRAMES = 96, 240  # of its picture
MANY = 2000  # points are pixels in an SVG too, which would be slow to open


@contextmanager
def drawn(path: Path, title: str, width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[Any]:
    """Give the axes (rows, columns) of a new figure, and write it to <path>.png and <path>.svg when they are drawn.

    Args:
        path: of the files, without their ending.
        title: above all axes.
        width: in inches; likewise height.
        rows: of axes.
        columns: of axes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        yield axes
        lines = (textwrap.fill(line, round(LETTERS * width)) for line in title.splitlines())
        figure.suptitle("\n".join(lines), parse_math=False)
        write(figure, path)


def write(figure: "Figure", path: Path) -> None:
    """Write <path>.png and <path>.svg, each whole or not at all."""
    for ending in ("png", "svg"):
        with atomic_path(path.with_name(f"{path.name}.{ending}")) as partial:
            figure.savefig(partial, format=ending, metadata={"Date": None} if ending == "svg" else None)


def scatter(axes: "Axes", points: np.ndarray, colour: str, label: str, size: float = 12.0) -> None:
    """Points (N, 2) on axes without numbers: the directions of PCA and t-SNE have no units."""
    look: dict[str, Any] = {"c": colour, "marker": MARKERS[colour], "alpha": 0.7, "linewidths": 0}
    axes.scatter(points[:, 0], points[:, 1], s=size, label=label, rasterized=len(points) > MANY, **look)
    axes.set(xticks=[], yticks=[])


def spectrogram(axes: "Axes", samples: np.ndarray, rate: int) -> None:
    """Draw samples (T,) as a spectrogram on a mel scale, in dB below its loudest point, against seconds and kHz."""
    if len(samples) < 2:
        samples = np.zeros(2)
    width = min(len(samples), round(0.032 * rate) or 1)
    step = max(1, (len(samples) - width) // FRAMES)
    frames = np.lib.stride_tricks.sliding_window_view(samples, width)[::step].astype(np.float64) * np.hanning(width)
    power = np.abs(np.fft.rfft(frames)).T ** 2  # (frequencies, frames)
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), BANDS)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    bands = np.array([np.interp(hertz, np.linspace(0, rate / 2, len(power)), column) for column in power.T]).T
    loudness = 10 * np.log10(np.maximum(bands, 1e-12))
    seconds = len(samples) / rate
    axes.imshow(
        loudness - loudness.max(), origin="lower", aspect="auto", cmap="magma", vmin=-DECIBELS, vmax=0,
        extent=(0, seconds, 0, BANDS), interpolation="nearest",
    )  # fmt: skip
    shown = [each for each in (0.1, 0.5, 1, 2, 4, 8, 16) if each * 1000 <= rate / 2]
    places = np.interp(np.array(shown) * 1000, hertz, np.arange(BANDS))
    axes.set_yticks(places, [f"{each:g}" for each in shown])
    axes.set(xlabel="time (s)", ylabel="frequency (kHz)")


def picture(axes: "Axes", image: np.ndarray) -> None:
    """Draw an image (3, H, W), uint8."""
    axes.imshow(image.transpose(1, 2, 0))
    axes.axis("off")
