"""A small picture of a sound: log-mel energies as a PNG of some kilobytes."""

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 320, 80  # columns and mel bands; the page stretches them
RANGE = 70.0  # decibels below the loudest that are drawn
ANCHORS = (  # matplotlib's magma at equal steps: even in lightness, so readable without colours
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
    (254, 194, 135), (252, 253, 191),
)  # fmt: skip


def log_mel(waveform: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, float]:
    """Decibels below the loudest of a waveform (T,), as (HEIGHT, columns), and the upper edge in Hz."""
    window = min(2048, 1 << max(6, round(0.04 * sampling_rate).bit_length() - 1))
    hop = window // 2
    padded = np.pad(waveform.astype(np.float32), (0, max(0, window - len(waveform)) + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]  # (F, window)
    bounds = np.linspace(0, len(frames), min(WIDTH, len(frames)) + 1).astype(int)
    top = min(sampling_rate / 2, 16000.0)
    filters = _triangles(window, sampling_rate, top)  # (window / 2 + 1, HEIGHT)
    columns = []
    for start, stop in zip(bounds[:-1], bounds[1:]):  # one column at a time: a long sound needs little memory
        power = np.abs(np.fft.rfft(frames[start:stop] * np.hanning(window), axis=1)) ** 2
        columns.append((power @ filters).mean(0))
    energies = np.stack(columns, axis=1)  # (HEIGHT, columns)
    decibels: np.ndarray = 10 * np.log10(np.maximum(energies, 1e-12) / max(float(energies.max()), 1e-12))
    return np.maximum(decibels, -RANGE), top


def png(waveform: np.ndarray, sampling_rate: int) -> tuple[bytes, float]:
    """The picture of a waveform (T,), low frequencies at the bottom, and its upper edge in Hz."""
    decibels, top = log_mel(waveform, sampling_rate)
    levels = np.round((decibels / RANGE + 1) * 255).astype(np.uint8)[::-1]
    image = Image.fromarray(np.ascontiguousarray(levels), mode="P")
    steps = np.linspace(0, len(ANCHORS) - 1, 256)
    palette = np.stack([np.interp(steps, range(len(ANCHORS)), channel) for channel in zip(*ANCHORS)], axis=1)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue(), top


def _triangles(window: int, sampling_rate: int, top: float) -> np.ndarray:
    """Triangular filters equally wide in mel = 1127 ln(1 + f / 700), from 0 Hz to `top`: (window / 2 + 1, HEIGHT)."""
    edges = np.linspace(0, 1127 * np.log1p(top / 700), HEIGHT + 2)
    bins = 1127 * np.log1p(np.arange(window // 2 + 1) * sampling_rate / window / 700)
    step = edges[1]
    # at least two bins wide: the lowest filters of a short window would fall between two bins
    width = np.maximum(step, np.interp(edges[1:-1], bins[1:], np.diff(bins)))
    return np.asarray(np.maximum(0, 1 - np.abs(bins[:, None] - edges[1:-1]) / width)).astype(np.float32)
