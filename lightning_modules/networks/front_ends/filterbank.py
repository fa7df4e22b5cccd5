"""Kaldi's log-mel filterbank in torch, batched: the input of CAV-MAE, ImageBind and other audio encoders.

Source: `compute-fbank-feats` of Kaldi, with the settings that the Audio Spectrogram Transformer made common.
"""

import warnings
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from lightning_modules.networks.front_ends.log_mel import as_float

LOG_FLOOR = 1.1920928955078125e-07  # float32's epsilon, Kaldi's floor before the logarithm
PREEMPHASIS = 0.97
LOW_FREQUENCY = 20.0  # Hz


class KaldiFilterbank(nn.Module):
    """Waveforms to log-mel frames: symmetric Hann window, pre-emphasis 0.97, power, 20 Hz to Nyquist.

    It holds no buffers, so that `.to(torch.bfloat16)` cannot round the window and the filters.

    Args:
        num_mel_bins: number of triangular filters.
        sampling_rate: of the waveforms, in Hz.
        frame_length: of a window, in milliseconds.
        frame_shift: between two windows, in milliseconds.
    """

    def __init__(
        self,
        num_mel_bins: int = 128,
        sampling_rate: int = 16000,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
    ) -> None:
        super().__init__()
        self.num_mel_bins = num_mel_bins
        self.sampling_rate = sampling_rate
        self.window_length = round(sampling_rate * frame_length / 1000)
        self.hop_length = round(sampling_rate * frame_shift / 1000)
        self.fft_length = 1 << (self.window_length - 1).bit_length()

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the log-mel frames of each clip; no frame reaches into the padding.

        Args:
            waveforms: (B, T), int16, or float in [-1, 1], padded at the end with anything finite.
            num_samples: (B,), the length of each waveform before padding.

        Returns:
            (B, F, num_mel_bins), float64 for float64 and else float32, zero after a clip's last frame; and
            (B,), the number of frames that fit whole, 0 for a clip shorter than a window.
        """
        waveforms = as_float(waveforms)
        waveforms = F.pad(waveforms, (0, max(0, self.window_length - waveforms.shape[1])))
        num_samples = num_samples.to(waveforms.device)
        num_frames = ((num_samples - self.window_length) // self.hop_length + 1).clamp(min=0)

        # autocast would run the product with the filters in half precision
        with torch.autocast(waveforms.device.type, enabled=False):
            # Void, as each frame loses its own mean, but offsets cost float32 digits; in steps of int16, so that clips
            # of other lengths in the batch, by which sums round, change nothing.
            heard = torch.arange(waveforms.shape[1], device=waveforms.device) < num_samples[:, None]
            mean = (waveforms * heard).sum(dim=1, keepdim=True) / num_samples[:, None].clamp(min=1)
            waveforms = waveforms - (mean * 2**15).round() / 2**15
            # Pre-emphasis is linear, so it is done once for the waveform, not in each of the frames that overlap. Only
            # a frame's first sample would differ (the recipe takes it for its own predecessor), and the window is 0
            # there. Of a constant m it leaves (1 - 0.97) m, so that much of a frame's mean is subtracted.
            emphasized = F.pad(waveforms[:, 1:] - PREEMPHASIS * waveforms[:, :-1], (1, 0))
            means = waveforms.unfold(1, self.window_length, self.hop_length).mean(dim=-1, keepdim=True)  # (B, F, 1)
            emphasized = emphasized.unfold(1, self.window_length, self.hop_length)  # (B, F, window)
            window = torch.hann_window(
                self.window_length, periodic=False, dtype=waveforms.dtype, device=waveforms.device
            )
            padded = waveforms.new_zeros(*emphasized.shape[:2], self.fft_length)
            frames = padded[..., : self.window_length]
            frames.copy_(emphasized).sub_((1 - PREEMPHASIS) * means).mul_(window)
            spectrum = torch.view_as_real(torch.fft.rfft(padded)).flatten(2)  # (B, F, fft + 2): real, imaginary, ...
            filters = mel_filters(self.num_mel_bins, self.fft_length, self.sampling_rate, padded.dtype, padded.device)
            log_mel = (spectrum.square_() @ filters).clamp_(min=LOG_FLOOR).log_()  # (B, F, num_mel_bins)
        position = torch.arange(log_mel.shape[1], device=log_mel.device)
        return log_mel.masked_fill((position >= num_frames[:, None])[..., None], 0.0), num_frames


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a cached tensor must serve training too
def mel_filters(
    num_mel_bins: int, fft_length: int, sampling_rate: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Triangles of height 1, equally wide in mel = 1127 ln(1 + f / 700): (fft_length + 2, bins), each row twice, for
    the squares of a frequency's real and imaginary parts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter")  # the lowest fall between two frequencies
        filters = mel_filter_bank(
            fft_length // 2 + 1, num_mel_bins, LOW_FREQUENCY, sampling_rate / 2, sampling_rate,
            mel_scale="kaldi", triangularize_in_mel_space=True,
        )  # fmt: skip
    return torch.from_numpy(filters).repeat_interleave(2, dim=0).to(device, dtype)
