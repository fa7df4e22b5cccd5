"""How near the audio tokens and the image tokens of a split are, as metrics that Lightning computes at its end."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class PooledTokens(Metric):
    """Keeps one vector of the audio tokens and one of the image tokens of every clip, over all ranks."""

    higher_is_better: bool | None = True
    full_state_update = False
    audio: list[Tensor]
    image: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("audio", [], dist_reduce_fx="cat")
        self.add_state("image", [], dist_reduce_fx="cat")

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, D)."""
        return tokens.mean(1)

    def update(self, audio_tokens: Tensor, image_tokens: Tensor) -> None:
        """Add B clips, (B, N, D) and (B, M, D); B may be 0."""
        self.audio.append(self.pool(audio_tokens).float())
        self.image.append(self.pool(image_tokens).float())


class RetrievalRecall(PooledTokens):
    """Share of the clips whose own image is among the `k` nearest, by the cosine between mean tokens.

    Ties count against it.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def compute(self) -> Tensor:
        """A scalar in [0, 1]; not a number where a token is none."""
        audio, image = (F.normalize(dim_zero_cat(side), dim=-1) for side in (self.audio, self.image))
        similarity = audio @ image.T  # (V, V) of V clips
        others_as_near = (similarity >= similarity.diagonal()[:, None]).sum(1) - 1  # itself left out
        recall = (others_as_near < self.k).float().mean()
        return torch.where(similarity.isfinite().all(), recall, torch.nan)


class ModalityGap(PooledTokens):
    """Distance between the centroids of all audio and all image tokens, each of norm 1, from 0 to 2.

    Source: Liang et al. 2022, Mind the Gap.
    """

    higher_is_better = False

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to the mean direction (B, D)."""
        return F.normalize(tokens, dim=-1).mean(1)

    def compute(self) -> Tensor:
        """A scalar."""
        audio, image = (dim_zero_cat(side).mean(0) for side in (self.audio, self.image))
        return torch.linalg.vector_norm(audio - image)
