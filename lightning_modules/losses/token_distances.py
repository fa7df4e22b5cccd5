"""Squared Euclidean distances between two sets of tokens, and losses with known gradients by the tokens."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def centre(audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the common mean of a clip's two sets from both, in float32 or float64, without gradient.

    Distances stay the same, but squares of large coordinates no longer cancel in `squared_distances`.
    """
    dtype = torch.promote_types(torch.promote_types(audio_tokens.dtype, image_tokens.dtype), torch.float32)
    audio, image = audio_tokens.detach().to(dtype), image_tokens.detach().to(dtype)
    total = audio.sum(dim=1, keepdim=True) + image.sum(dim=1, keepdim=True)  # (B, 1, D)
    mean = total / (audio.shape[1] + image.shape[1])
    return audio - mean, image - mean


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(B, N, D) and (B, M, D) to squared Euclidean distances (B, N, M), without a (B, N, M, D) between."""
    norms = torch.linalg.vecdot(x, x)[:, :, None] + torch.linalg.vecdot(y, y)[:, None, :]
    return norms.baddbmm_(x, y.transpose(1, 2), alpha=-2).clamp_(min=0)


def distance_gradient(x: Tensor, y: Tensor, slope: Tensor, rows: Tensor | None = None) -> Tensor:
    """Gradient by x, (B, N, D), of a loss whose derivative by the squared distances is `slope`.

    Args:
        x: (B, N, D).
        y: (B, M, D), held fixed.
        slope: (B, N, M), dense or sparse.
        rows: its sums over M, (B, N), where they are known.
    """
    rows = slope.sum(dim=2) if rows is None else rows
    return torch.bmm(slope * -2, y).addcmul_(rows[:, :, None], x, value=2)


def with_gradients(value: Tensor, *gradients: tuple[Tensor, Callable[[], Tensor]]) -> Tensor:
    """Give a value its gradients in closed form; backward does no more than to scale them.

    Args:
        value: (B,), computed without gradient.
        gradients: each a tensor (B, ...) that the value depends on and a function that computes the value's gradient
            by it, called where that is wanted.
    """
    wanted = [(leaf, gradient) for leaf, gradient in gradients if leaf.requires_grad and torch.is_grad_enabled()]
    if not wanted:
        return value
    with torch.no_grad():
        computed = [gradient() for _, gradient in wanted]
    return KnownGradients.apply(value, *(leaf for leaf, _ in wanted), *computed)


class KnownGradients(torch.autograd.Function):
    """Identity on a value (B,), with given gradients by the tensors that it depends on."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *leaves_then_gradients: Tensor) -> Tensor:
        """Keep the gradients."""
        ctx.save_for_backward(*leaves_then_gradients[len(leaves_then_gradients) // 2 :])
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients of each clip."""
        gradients = ctx.saved_tensors
        scaled = (scale.view(-1, *[1] * (gradient.dim() - 1)) * gradient for gradient in gradients)
        return None, *scaled, *(None for _ in gradients)
