"""A WSAC strategy at inference: the mean of the training captions nearest to an audio embedding."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NearestMean(nn.Module):
    """Replaces an audio embedding by the mean of the k most similar caption embeddings.

    Args:
        num_neighbours: k; 1 is nearest-neighbour decoding.
    """

    def __init__(self, num_neighbours: int = 4) -> None:
        super().__init__()
        self.num_neighbours = num_neighbours
        self.memory = torch.empty(0)  # not a buffer: it belongs to the data, not into a checkpoint

    def remember(self, embeddings: Tensor) -> None:
        """Take the embeddings (N, D) of all training captions, of norm 1; called once before test and predict."""
        self.memory = embeddings.float()

    def forward(self, audio: Tensor) -> Tensor:
        """Audio embeddings (B, D) to embeddings (B, D) that the decoder was trained on, or nearly."""
        self.memory = self.memory.to(audio.device)
        nearest = (audio.float() @ self.memory.T).topk(self.num_neighbours).indices  # (B, k)
        return F.normalize(self.memory[nearest].mean(dim=1), dim=-1)
