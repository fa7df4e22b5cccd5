"""What a set of tokens has in common: a background that `WithoutBackground` takes away before tokens are compared."""

from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from lightning_modules.contracts import Module


class Background(Module, Protocol):
    """What the tokens of one modality have in common."""

    def forward(self, tokens: Tensor) -> Any:
        """(B, N, D) to (B, 1, D), or to (1, 1, D) where all clips have the same."""

    if TYPE_CHECKING:  # at run time torch defines it, for any arguments

        def __call__(self, tokens: Tensor) -> Tensor:
            """As `forward`."""


class ModalityMean(nn.Module):
    """The mean of a modality's tokens over the clips of the batch; in training those of all ranks.

    In training every rank must have as many clips. In validation the batch's own clips count.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (1, 1, D), with gradient."""
        mean = tokens.mean(dim=(0, 1), keepdim=True)
        if self.training and distributed.is_initialized():
            return all_reduce(mean) / distributed.get_world_size()
        return mean


class ClipMean(nn.Module):
    """The mean of a clip's tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, 1, D), with gradient."""
        return tokens.mean(dim=1, keepdim=True)


class ClipMedian(nn.Module):
    """The median of a clip's tokens, feature by feature: a token of the background, where that has most tokens.

    Unlike the mean it does not move with what stands before the background.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, 1, D); the gradient is that of the tokens whose features it takes."""
        return tokens.median(dim=1, keepdim=True).values
