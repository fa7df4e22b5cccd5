"""The filterbank against the recipe written out in float64, and against kaldi-native-fbank."""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

from lightning_modules.networks.front_ends.filterbank import KaldiFilterbank

RATE = 16000


def written_recipe(waveform: np.ndarray) -> np.ndarray:
    """Log-mel frames (F, 128), one frame and one filter at a time, everything in float64."""
    waveform = waveform.astype(np.float64) - waveform.astype(np.float64).mean()
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * n / 399) for n in range(400)])

    def mel(frequency: float) -> float:
        return 1127.0 * np.log(1.0 + frequency / 700.0)

    step = (mel(8000.0) - mel(20.0)) / 129
    filters = np.zeros((128, 257))
    for i in range(128):
        left, centre, right = (mel(20.0) + (i + k) * step for k in range(3))
        for k in range(256):
            position = mel(k * RATE / 512)
            if left < position < right:
                rises = position <= centre
                filters[i, k] = (position - left) / (centre - left) if rises else (right - position) / (right - centre)

    rows = []
    for start in range(0, len(waveform) - 400 + 1, 160):
        frame = waveform[start : start + 400].copy()
        frame -= frame.mean()
        frame = np.array([frame[i] - 0.97 * frame[max(i - 1, 0)] for i in range(400)]) * window
        power = np.abs(np.fft.rfft(frame, 512)) ** 2
        rows.append(np.log(np.maximum(filters @ power, 1.1920928955078125e-07)))
    return np.array(rows)


def native(waveform: np.ndarray, num_mel_bins: int) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hanning"
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = num_mel_bins
    options.use_energy = False
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(RATE, (waveform - waveform.mean()).astype(np.float32).tolist())
    fbank.input_finished()
    return np.array([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def sounds() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    seconds = np.arange(20000) / RATE
    noise = 0.1 * random.standard_normal(20000)
    tones = sum(0.2 * np.sin(2 * np.pi * f * seconds) for f in (110.0, 1000.0, 5230.0))
    return {
        "noise": noise,
        "noise with an offset": 0.3 * noise + 0.5,
        "faint noise with an offset": 0.01 * noise + 0.5,
        "tones in noise": tones + 0.05 * noise,
        "silence, then a click": np.where(np.arange(20000) == 15000, 0.9, 0.0),
    }


def one(waveform: np.ndarray | torch.Tensor, dtype: torch.dtype = torch.float32) -> np.ndarray:
    batch = torch.as_tensor(waveform).to(dtype)[None]
    log_mel, num_frames = KaldiFilterbank()(batch, torch.tensor([batch.shape[1]]))
    assert log_mel.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert num_frames.tolist() == [log_mel.shape[1]]
    return log_mel[0].numpy()


@pytest.mark.parametrize("name", sounds())
def test_follows_the_written_recipe(name):
    waveform = sounds()[name]
    truth = written_recipe(waveform)
    assert truth.shape == (123, 128)
    np.testing.assert_allclose(one(waveform, torch.float64), truth, rtol=0, atol=1e-5)
    difference = np.abs(one(waveform, torch.float32) - truth)
    assert difference.max() < 1e-2
    assert difference.mean() < 1e-4


@pytest.mark.parametrize("name", ["noise", "noise with an offset", "tones in noise"])
def test_agrees_with_kaldi_native_fbank(name):
    waveform = sounds()[name]
    # Kaldi refuses 128 filters here, because the fourth falls between two bins of the spectrum
    truth = native(waveform, num_mel_bins=80)
    batch = torch.from_numpy(waveform).float()[None]
    found, _ = KaldiFilterbank(num_mel_bins=80)(batch, torch.tensor([batch.shape[1]]))
    np.testing.assert_allclose(found[0].numpy(), truth, rtol=0, atol=3e-2)


def test_a_clip_does_not_depend_on_its_batch_mates():
    random = torch.Generator().manual_seed(0)
    waveforms = torch.randn(4, 12000, generator=random, dtype=torch.float64) * 0.1
    num_samples = torch.tensor([12000, 7000, 400, 399])
    log_mel, num_frames = KaldiFilterbank()(waveforms, num_samples)  # what pads the shorter ones is noise here
    assert num_frames.tolist() == [73, 42, 1, 0]
    for i, (length, frames) in enumerate(zip(num_samples, num_frames, strict=True)):
        if frames:
            alone = one(waveforms[i, :length], torch.float64)
            np.testing.assert_allclose(log_mel[i, :frames].numpy(), alone, rtol=0, atol=1e-10)
        assert not log_mel[i, frames:].any()


def test_a_batch_shorter_than_a_window_has_one_empty_frame():
    log_mel, num_frames = KaldiFilterbank()(torch.zeros(2, 100, dtype=torch.int16), torch.tensor([100, 0]))
    assert log_mel.shape == (2, 1, 128)
    assert not log_mel.any()
    assert num_frames.tolist() == [0, 0]


def test_int16_equals_float():
    waveform = torch.randint(-32768, 32768, (8000,), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    np.testing.assert_array_equal(one(waveform, torch.int16), one(waveform.float() / 32768))


def test_autocast_and_a_half_precision_module_change_nothing():
    waveform = torch.from_numpy(sounds()["noise"]).float()[None]
    length = torch.tensor([waveform.shape[1]])
    expected, _ = KaldiFilterbank()(waveform, length)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = KaldiFilterbank().to(torch.bfloat16)(waveform, length)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_filters_first_used_without_gradients_serve_training_too():
    filterbank = KaldiFilterbank(num_mel_bins=37)  # a size of its own, so that nothing is cached yet
    waveform, length = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)), torch.tensor([4000])
    with torch.inference_mode():
        filterbank(waveform, length)
    waveform.requires_grad_()
    filterbank(waveform, length)[0].sum().backward()
    assert waveform.grad.isfinite().all()


def test_other_rates_and_windows():
    """A 440 Hz tone lands in the filter whose centre is nearest, at 32 kHz and 64 bins too."""
    rate = 32000
    tone = torch.sin(2 * torch.pi * 440.0 * torch.arange(rate) / rate)[None]
    filterbank = KaldiFilterbank(64, rate, frame_length=32.0, frame_shift=20.0)
    log_mel, num_frames = filterbank(tone, torch.tensor([rate]))
    assert num_frames.item() == 1 + (rate - 1024) // 640
    mel = 1127.0 * np.log1p(np.array([20.0, 440.0, 16000.0]) / 700.0)
    nearest = round((mel[1] - mel[0]) / (mel[2] - mel[0]) * 65) - 1
    assert (log_mel[0].argmax(dim=1) == nearest).all()
