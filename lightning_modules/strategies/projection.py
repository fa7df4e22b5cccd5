"""WSAC's projection decoding (3.2.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.strategies.caption_memory import CaptionMemory


class Projection(CaptionMemory):
    """Replaces an audio embedding by the sum of all captions' embeddings, weighted by a softmax (Eq. 4, 5).

    Args:
        temperature: of the softmax over the similarities; the paper does not give it, this is the authors' code's.
        renormalise: scale the sum to norm 1, as the authors' code does.
        chunk_size: how many captions are on the device at once; None keeps all there.

    Raises:
        InputError: a temperature of 0 or below.
    """

    def __init__(self, temperature: float = 0.01, renormalise: bool = False, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)
        if not temperature > 0:
            raise InputError(f"expected a temperature above 0, found {temperature}; correct it")
        self.temperature = temperature
        self.renormalise = renormalise

    def forward(self, audio: Tensor) -> Tensor:
        """(B, D) to (B, D); the chunks' softmaxes are combined by their highest similarities."""
        highest = torch.full((len(audio), 1), -torch.inf, device=audio.device)
        weights = torch.zeros(len(audio), 1, device=audio.device)
        total = torch.zeros(audio.shape, device=audio.device)
        for piece, similarity, _ in self.chunks(audio):
            scaled = similarity / self.temperature  # (B, C)
            new = torch.maximum(highest, scaled.amax(1, keepdim=True))
            before, now = (highest - new).exp(), (scaled - new).exp()
            weights = weights * before + now.sum(1, keepdim=True)
            with torch.autocast(audio.device.type, enabled=False):
                total = total * before + now @ piece
            highest = new
        projected = total / weights
        return (F.normalize(projected, dim=-1) if self.renormalise else projected).to(audio)
