"""A criterion: the sliced Wasserstein distance between a clip's audio tokens and its image tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SlicedWasserstein(nn.Module):
    """Squared 2-Wasserstein distance of the tokens' projections on random directions, averaged over the clips.

    Source: Bonneel et al., 2015, Sliced and Radon Wasserstein Barycenters of Measures.

    Args:
        num_projections: K, how many directions; new ones in every training step, fixed ones in validation.
    """

    def __init__(self, num_projections: int = 64) -> None:
        super().__init__()
        self.num_projections = num_projections

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Compute the distance.

        Args:
            audio_tokens: (B, N, D).
            image_tokens: (B, M, D).

        Returns:
            The loss, and what to log: `largest_slice`, the mean over the clips of the largest of the K distances.
        """
        generator = None if self.training else torch.Generator().manual_seed(0)
        directions = torch.randn(audio_tokens.shape[-1], self.num_projections, generator=generator)  # (D, K)
        directions = F.normalize(directions, dim=0).to(audio_tokens.device)
        audio = (audio_tokens.float() @ directions).sort(dim=1).values  # (B, N, K)
        image = (image_tokens.float() @ directions).sort(dim=1).values  # (B, M, K)
        # In one dimension the optimal plan matches quantiles. Those of N and of M points change at multiples of
        # 1/N and 1/M; between two changes both are constant.
        n, m = audio.shape[1], image.shape[1]
        ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()  # in units of 1/(N M)
        mass = ends.diff(prepend=ends.new_zeros(1)).to(audio) / (n * m)
        difference = audio[:, (ends - 1) // m] - image[:, (ends - 1) // n]  # (B, pieces, K)
        distances = (mass[:, None] * difference.square()).sum(dim=1)  # (B, K)
        return distances.mean(), {"largest_slice": distances.detach().amax(dim=1).mean()}
