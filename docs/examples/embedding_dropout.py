"""A WSAC strategy in training: some dimensions of the text embeddings are set to zero."""

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.contracts import Embed


class EmbeddingDropout(nn.Module):
    """Dropout on the text embeddings, so that the decoder cannot rely on one dimension that audio does not use.

    Args:
        p: probability that a dimension of an embedding is set to zero in training.
    """

    splits: set[str] = set()  # `prepare` reads no captions and no audio

    def __init__(self, p: float = 0.2) -> None:
        super().__init__()
        self.p = p

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Called once before training; a strategy that estimates something does so here: `text("audiocaps/val")`."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Text embeddings (B, D) to (B, D)."""
        return F.dropout(embeddings, self.p, self.training)
