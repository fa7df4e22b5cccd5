"""The log-mel spectrogram of PANNs and of both families of CLAP, batched, each clip as if it were alone."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

FLOOR = 1e-10


class LogMel(nn.Module):
    """Centred STFT with a periodic Hann window and reflected ends, power, mel filters, decibels.

    It holds no buffers, so that `.to(torch.bfloat16)` cannot round the window and the filters.

    Args:
        sampling_rate: of the waveforms, in Hz.
        fft_length: samples of a window and of its transform.
        hop_length: samples between two windows.
        num_mel_bins: number of triangular filters.
        min_frequency: lower edge of the first, in Hz.
        max_frequency: upper edge of the last, in Hz.
        mel_scale: "slaney", with filters of equal area as librosa has them; or "htk", with filters of height 1 as
            torchaudio has them (the fused models of LAION).
    """

    def __init__(
        self,
        sampling_rate: int = 32000,
        fft_length: int = 1024,
        hop_length: int = 320,
        num_mel_bins: int = 64,
        min_frequency: float = 50.0,
        max_frequency: float = 14000.0,
        mel_scale: str = "slaney",
    ) -> None:
        super().__init__()
        self.sampling_rate = sampling_rate
        self.fft_length = fft_length
        self.hop_length = hop_length
        self.filters = (fft_length, num_mel_bins, min_frequency, max_frequency, sampling_rate, mel_scale)

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the frames of each clip, its end reflected where the clip ends, not where the batch does.

        Args:
            waveforms: (B, T), int16, or float in [-1, 1].
            num_samples: (B,), the length of each waveform before padding; more than fft_length / 2.

        Returns:
            (B, F, num_mel_bins) in decibels, whatever after a clip's last frame; and (B,), its number of frames,
            1 + num_samples // hop_length.
        """
        waveforms = as_float(waveforms)
        last = (num_samples.to(waveforms.device) - 1)[:, None]  # (B, 1)
        half = self.fft_length // 2
        with torch.autocast(waveforms.device.type, enabled=False):
            position = torch.arange(-half, waveforms.shape[1] + half, device=waveforms.device).abs()
            position = torch.where(position > last, 2 * last - position, position).clamp(min=0)  # (B, T + fft)
            frames = waveforms.gather(1, position).unfold(1, self.fft_length, self.hop_length)  # (B, F, fft)
            window = torch.hann_window(self.fft_length, dtype=frames.dtype, device=frames.device)
            spectrum = torch.fft.rfft(frames * window)
            power = spectrum.real.square() + spectrum.imag.square()  # (B, F, fft / 2 + 1)
            mel = power @ mel_filters(*self.filters).to(power)
            return 10 * mel.clamp(min=FLOOR).log10(), last[:, 0].add(1) // self.hop_length + 1


def as_float(waveforms: Tensor) -> Tensor:
    """int16 to float32 in [-1, 1); float64 stays."""
    if waveforms.dtype == torch.int16:
        return waveforms.float() / 32768
    return waveforms if waveforms.dtype == torch.float64 else waveforms.float()


def at_least(waveforms: Tensor, num_samples: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Waveforms (B, T), zero after each one's end, and their lengths raised to `least` samples."""
    inside = torch.arange(waveforms.shape[1], device=waveforms.device) < num_samples[:, None]  # (B, T)
    waveforms = F.pad(waveforms * inside, (0, max(0, least - waveforms.shape[1])))
    return waveforms, num_samples.clamp(min=least)


@lru_cache(maxsize=8)
def mel_filters(
    fft_length: int, num_mel_bins: int, min_frequency: float, max_frequency: float, sampling_rate: int, scale: str
) -> Tensor:
    """(fft_length / 2 + 1, num_mel_bins), float64."""
    norm = "slaney" if scale == "slaney" else None
    return torch.from_numpy(
        mel_filter_bank(
            fft_length // 2 + 1, num_mel_bins, min_frequency, max_frequency, sampling_rate, norm=norm, mel_scale=scale
        )
    ).double()
