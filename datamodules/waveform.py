"""Samples as they are stored and batched. Imports no torch, so that processes that pack need none."""

import numpy as np
import soxr


def int16_at(sampling_rate: int, samples: np.ndarray, found: int) -> np.ndarray:
    """Samples (T,) in -1 to 1 at the rate `found`, in Hz, as int16 at `sampling_rate`; at one rate only rounded."""
    samples = soxr.resample(samples, found, sampling_rate)  # as float: soxr dithers int16, each time differently
    waveform: np.ndarray = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    return waveform
