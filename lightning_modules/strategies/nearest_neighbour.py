"""WSAC's nearest-neighbour decoding (3.2.1)."""

import torch
from torch import Tensor

from lightning_modules.strategies.caption_memory import CaptionMemory


class NearestNeighbour(CaptionMemory):
    """Replaces an audio embedding by that of the most similar training caption (Eq. 3)."""

    def forward(self, audio: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        highest = torch.full((len(audio),), -torch.inf, device=audio.device)
        nearest = torch.zeros(len(audio), dtype=torch.long, device=audio.device)
        for _, similarity, start in self.chunks(audio):
            value, index = similarity.max(1)
            nearest = torch.where(value > highest, index + start, nearest)
            highest = torch.maximum(value, highest)
        return self.memory[nearest.to(self.memory.device)].to(audio)
