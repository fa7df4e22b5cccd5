"""CNN14 of PANNs (Kong et al., 2020), the audio encoder of WSAC's CLAP: log-mel frames to one vector a clip.

Submodules are named as in the authors' checkpoints.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.front_ends.log_mel import LogMel, at_least

CHANNELS = (64, 128, 256, 512, 1024, 2048)


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, each with batch norm and ReLU, then a 2 x 2 mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, frames: Tensor, num_frames: Tensor, filled: bool) -> tuple[Tensor, Tensor]:
        """(B, C, F, M) and the frames of each clip, (B,), both halved on the way out; `filled` where all clips have F.

        The frames after a clip's end are set to zero before each convolution, as its zero padding would be for the clip
        alone, so that a clip's result does not depend on its batch.
        """
        frames = cut(F.relu(self.bn1(self.conv1(frames))), num_frames, filled)
        frames = F.relu(self.bn2(self.conv2(frames)))
        return cut(F.avg_pool2d(frames, 2), num_frames // 2, filled), num_frames // 2  # an odd last frame is left out


def cut(frames: Tensor, num_frames: Tensor, filled: bool) -> Tensor:
    """Frames (B, C, F, M) with zeros from each clip's end on; none where all clips have F frames."""
    if filled:
        return frames
    inside = torch.arange(frames.shape[2], device=frames.device) < num_frames[:, None]  # (B, F)
    return frames * inside[:, None, :, None]


class Cnn14(nn.Module):
    """Six blocks, the mean over frequencies, then maximum plus mean over time.

    Args:
        channels: of the six blocks; the last is the width of the result.
        sampling_rate: of the waveforms that `features` expects, in Hz.
        hop_length: samples between two frames.
        max_frequency: upper edge of the mel filters, in Hz.
        max_seconds: longer audio is cut; None takes any length.
    """

    def __init__(
        self,
        channels: Sequence[int] = CHANNELS,
        sampling_rate: int = 32000,
        hop_length: int = 320,
        max_frequency: float = 14000.0,
        max_seconds: float | None = None,
    ) -> None:
        super().__init__()
        self.settings = {
            "channels": list(channels),
            "sampling_rate": sampling_rate,
            "hop_length": hop_length,
            "max_frequency": max_frequency,
            "max_seconds": max_seconds,
        }
        self.sampling_rate = sampling_rate
        self.max_seconds = max_seconds
        self.width = channels[-1]
        self.log_mel = LogMel(sampling_rate, hop_length=hop_length, max_frequency=max_frequency)
        self.least_frames = 2 ** len(channels)  # what the halvings leave one frame of
        self.bn0 = nn.BatchNorm2d(64)
        self.blocks = [f"conv_block{number}" for number in range(1, len(channels) + 1)]
        for name, (inputs, outputs) in zip(self.blocks, pairwise((1, *channels))):
            self.add_module(name, ConvBlock(inputs, outputs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def features(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, T) and their lengths (B,) to frames (B, F, 64) in decibels and their numbers (B,).

        Audio too short for the halvings is padded with silence.
        """
        return self.log_mel(*at_least(waveforms, num_samples, (self.least_frames - 1) * self.log_mel.hop_length))

    def forward(self, features: Tensor, num_frames: Tensor) -> Tensor:
        """Frames (B, F, 64) and their numbers (B,) to (B, width)."""
        frames = features[:, None].to(self.bn0.weight.dtype)  # (B, 1, F, 64)
        frames = self.bn0(frames.transpose(1, 3)).transpose(1, 3)
        filled = int(num_frames.min()) == frames.shape[2]  # asked once, as a GPU is waited for
        frames = cut(frames, num_frames, filled)
        for name in self.blocks:
            frames, num_frames = self.get_submodule(name)(frames, num_frames, filled)
        frames = frames.mean(3)  # (B, width, F)
        after = torch.arange(frames.shape[2], device=frames.device) >= num_frames[:, None]  # (B, F)
        highest = frames.masked_fill(after[:, None], -torch.inf).amax(2)
        mean = frames.masked_fill(after[:, None], 0).sum(2) / num_frames[:, None]
        return highest + mean
