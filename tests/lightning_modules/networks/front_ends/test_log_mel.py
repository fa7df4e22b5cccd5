"""Against librosa's formulae, in float64 and one frame at a time."""

import numpy as np
import pytest
import torch
from plain_log_mel import plain_log_mel

from lightning_modules.networks.front_ends.log_mel import LogMel


@pytest.mark.parametrize(("rate", "hop", "high"), [(32000, 320, 14000.0), (48000, 480, 14000.0), (16000, 640, 8000.0)])
def test_each_clip_of_a_batch_as_librosa_has_it(rate: int, hop: int, high: float) -> None:
    rng = np.random.default_rng(0)
    lengths = [rate, rate // 2 + 7, 3 * hop]
    waves = [np.sin(np.arange(n) * 440 * 2 * np.pi / rate) * 0.3 + rng.normal(0, 0.05, n) for n in lengths]
    batch = torch.full((3, rate), 0.7)  # what is in the padding must not matter
    for row, wave in zip(batch, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    frames, numbers = LogMel(rate, hop_length=hop, max_frequency=high)(batch, torch.tensor(lengths))
    for number, wave, found in zip(numbers.tolist(), waves, frames.numpy()):
        expected = plain_log_mel(wave.astype(np.float32), rate, hop, high)
        assert len(expected) == number == 1 + len(wave) // hop
        np.testing.assert_allclose(found[:number], expected, rtol=0, atol=1e-4)
    exact, _ = LogMel(rate, hop_length=hop, max_frequency=high)(batch.double(), torch.tensor(lengths))
    wave = waves[0].astype(np.float32)
    np.testing.assert_allclose(exact[0].numpy(), plain_log_mel(wave, rate, hop, high), rtol=0, atol=1e-4)


def test_integers_are_fractions_of_full_scale() -> None:
    waveform = torch.randint(-9000, 9000, (1, 6400), dtype=torch.int16)
    lengths = torch.tensor([6400])
    torch.testing.assert_close(LogMel()(waveform, lengths)[0], LogMel()(waveform.float() / 32768, lengths)[0])
