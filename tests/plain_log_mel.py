"""A log-mel spectrogram by librosa's formulae, in float64 and one frame at a time, to compare with."""

import numpy as np


def slaney_hz(mel: np.ndarray) -> np.ndarray:
    """Linear below 1 kHz (15 mels), logarithmic above."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def slaney_filters(rate: int, fft: int, bins: int, low: float, high: float) -> np.ndarray:
    """Triangular filters (bins, fft / 2 + 1) of equal area."""
    to_mel = lambda hz: hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)  # noqa: E731
    edges = slaney_hz(np.linspace(to_mel(low), to_mel(high), bins + 2))
    frequencies = np.arange(fft // 2 + 1) * rate / fft
    filters = np.zeros((bins, len(frequencies)))
    for m in range(bins):
        up = (frequencies - edges[m]) / (edges[m + 1] - edges[m])
        down = (edges[m + 2] - frequencies) / (edges[m + 2] - edges[m + 1])
        filters[m] = np.maximum(0, np.minimum(up, down)) * 2 / (edges[m + 2] - edges[m])
    return filters


def plain_log_mel(wave: np.ndarray, rate: int, hop: int, high: float = 14000.0) -> np.ndarray:
    """Waveform (T,) to frames (F, 64) in decibels."""
    padded = np.pad(wave.astype(np.float64), 512, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    filters = slaney_filters(rate, 1024, 64, 50.0, high)
    frames = []
    for start in range(0, len(padded) - 1024 + 1, hop):
        power = np.abs(np.fft.rfft(padded[start : start + 1024] * window)) ** 2
        frames.append(10 * np.log10(np.maximum(filters @ power, 1e-10)))
    return np.array(frames)
