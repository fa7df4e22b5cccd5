"""WSAC's strategies at inference: an audio embedding's place among the embeddings of all training captions (3.2).

A strategy is given the memory once (`remember`) and then maps audio embeddings (B, D) to (B, D) among the texts. The
search is one matrix product for a batch; where the memory does not fit the device, one for each chunk of it.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot.errors import InputError


class TextMemory(nn.Module):
    """The embeddings of N captions, read in chunks.

    Args:
        chunk_size: captions on the device at once; None keeps all there.

    Raises:
        InputError: a chunk of no caption.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        super().__init__()
        if chunk_size is not None and chunk_size < 1:
            raise InputError(f"expected a chunk_size of at least 1, or null, found {chunk_size}; correct it")
        self.chunk_size = chunk_size
        self.memory = torch.empty(0)  # no buffer: it belongs to the data, not to a checkpoint

    def remember(self, embeddings: Tensor) -> None:
        """Take the embeddings (N, D), all of them; on disk they may stay there, memory-mapped."""
        self.memory = embeddings

    def chunks(self, audio: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Pieces of the memory (C, D), their cosine similarities with `audio` (B, C), and where they begin."""
        if self.chunk_size is None and self.memory.device != audio.device:
            self.memory = self.memory.to(audio.device)
        audio = F.normalize(audio.float(), dim=-1)
        for start in range(0, len(self.memory), self.chunk_size or len(self.memory)):
            stop = start + (self.chunk_size or len(self.memory))
            piece = self.memory[start:stop].to(audio)
            yield piece, audio @ piece.T / piece.norm(dim=-1), start


class NearestNeighbour(TextMemory):
    """The most similar caption's embedding (Eq. 3)."""

    def forward(self, audio: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        highest = torch.full((len(audio),), -torch.inf, device=audio.device)
        nearest = torch.zeros(len(audio), dtype=torch.long, device=audio.device)
        for _, similarity, start in self.chunks(audio):
            value, index = similarity.max(1)
            nearest = torch.where(value > highest, index + start, nearest)
            highest = torch.maximum(value, highest)
        return self.memory[nearest.to(self.memory.device)].to(audio)


class Projection(TextMemory):
    """The sum of all captions' embeddings, weighted by the softmax of their similarities (Eq. 4, 5).

    Args:
        temperature: of the softmax; not in the paper, this is the authors' code's.
        renormalise: scale the sum to norm 1, as the authors' code does.
        chunk_size: captions on the device at once; None keeps all there.

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
        """(B, D) to (B, D); the chunks' softmaxes are joined by their highest similarities."""
        highest = torch.full((len(audio), 1), -torch.inf, device=audio.device)
        weights = torch.zeros(len(audio), 1, device=audio.device)
        total = torch.zeros(audio.shape, device=audio.device)
        for piece, similarity, _ in self.chunks(audio):
            scaled = similarity / self.temperature  # (B, C)
            new = torch.maximum(highest, scaled.amax(1, keepdim=True))
            before, now = (highest - new).exp(), (scaled - new).exp()
            weights = weights * before + now.sum(1, keepdim=True)
            total = total * before + now @ piece
            highest = new
        projected = total / weights
        return (F.normalize(projected, dim=-1) if self.renormalise else projected).to(audio)
