"""The embeddings of all training captions, which WSAC's strategies at inference search in (3.2)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot.errors import InputError


class CaptionMemory(nn.Module):
    """Holds the embeddings and compares them with audio, by one matrix product for each chunk.

    Args:
        chunk_size: how many captions are on the device at once; None keeps all there.

    Raises:
        InputError: a chunk without captions.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        super().__init__()
        if chunk_size is not None and chunk_size < 1:
            raise InputError(f"expected a chunk_size of at least 1, or null, found {chunk_size}; correct it")
        self.chunk_size = chunk_size
        self.memory = torch.empty(0)  # no buffer: it belongs to the data, not to a checkpoint

    def remember(self, embeddings: Tensor) -> None:
        """Take all embeddings (N, D); those on disk may stay memory-mapped."""
        self.memory = embeddings

    def chunks(self, audio: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Pieces of the memory (C, D), their cosine similarities with `audio` (B, C), and where they begin."""
        if self.chunk_size is None and self.memory.device != audio.device:
            self.memory = self.memory.to(audio.device)
        audio = F.normalize(audio.float(), dim=-1)  # (B, D)
        for start in range(0, len(self.memory), self.chunk_size or len(self.memory)):
            stop = start + (self.chunk_size or len(self.memory))
            piece = self.memory[start:stop].to(audio)
            with torch.autocast(audio.device.type, enabled=False):  # half precision makes ties of near captions
                cosines = audio @ piece.T / piece.norm(dim=-1)  # (B, C)
            yield piece, cosines, start
