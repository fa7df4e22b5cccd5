"""An audio encoder that shares no code with the project's own: it has what the contract asks for, and nothing else."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FRAME = 1000  # samples


class TinyEncoder(nn.Module):
    """Maps the loudness of each frame to a token (`lightning_modules.contracts.AudioEncoder`)."""

    sampling_rate = 8000
    max_seconds = 2.0

    def __init__(self, width: int = 96, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.linear = nn.Linear(1, width)

    def features(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """(B, T) to (B, 16, 1)."""
        room = int(self.max_seconds * self.sampling_rate)
        waveforms = nn.functional.pad(waveforms.float() / 32768, (0, max(0, room - waveforms.shape[1])))[:, :room]
        return self.gain * waveforms.unflatten(1, (-1, FRAME)).square().mean(-1, keepdim=True).sqrt()

    def augment(self, features: Tensor) -> Tensor:
        return features + 0.01 * torch.rand_like(features)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 16, 1) to (B, 16, D)."""
        return self.linear(features)

    def save_pretrained(self, save_directory: str | Path) -> None:
        save_file(self.state_dict(), Path(save_directory) / "tiny.safetensors")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path) -> "TinyEncoder":
        weights = load_file(Path(pretrained_model_name_or_path) / "tiny.safetensors")
        encoder = cls(len(weights["linear.bias"]))
        encoder.load_state_dict(weights)
        return encoder.eval()
