"""How far two sets of tokens are apart by the similarities within and across them."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_modules.losses.token_distances import centre, distance_gradient, squared_distances, with_gradients

Statistic = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of distances (B, N, M), which it may use up, and a bandwidth (B,): a value (B,) and its slope by them (B, N, M)."""


def kernel_divergence(audio_tokens: Tensor, image_tokens: Tensor, statistic: Statistic) -> tuple[Tensor, Tensor]:
    """S(audio, audio) + S(image, image) - 2 S(audio, image), averaged over the clips, and sigma.

    Three blocks of distances are made instead of all between the pooled tokens, and backward keeps none of them.

    Args:
        audio_tokens: (B, N, D).
        image_tokens: (B, M, D).
        statistic: S, with sigma as bandwidth: the mean squared distance between the clip's pooled tokens, a constant.

    Returns:
        A scalar, float32 (float64 for float64 tokens), and the mean sigma.
    """
    with torch.autocast(audio_tokens.device.type, enabled=False):  # half precision would garble the distances
        with torch.no_grad():
            audio, image = centre(audio_tokens, image_tokens)
            sigma = mean_squared_distance(audio, image)  # (B,)
            within_audio, audio_slope = statistic(squared_distances(audio, audio), sigma)
            within_image, image_slope = statistic(squared_distances(image, image), sigma)
            across, slope = statistic(squared_distances(audio, image), sigma)

        def gradient(tokens: Tensor, others: Tensor, own_slope: Tensor, cross_slope: Tensor) -> Tensor:
            # each of two tokens of one set pulls at the other
            return distance_gradient(tokens, tokens, own_slope).sub_(
                distance_gradient(tokens, others, cross_slope)
            ).mul_(2)  # fmt: skip

        value = with_gradients(
            within_audio + within_image - 2 * across,
            (audio_tokens, lambda: gradient(audio, image, audio_slope, slope)),
            (image_tokens, lambda: gradient(image, audio, image_slope, slope.transpose(1, 2))),
        )
        return value.mean(), sigma.mean()


def mean_squared_distance(audio: Tensor, image: Tensor) -> Tensor:
    """Mean squared distance between two different ones of a clip's N + M tokens: (B,); 1 where it is zero.

    By way of the tokens' mean, which `centre` has put at the origin: no (N + M)^2 distances.
    """
    count = audio.shape[1] + image.shape[1]
    norms = audio.square().sum(dim=(1, 2)) + image.square().sum(dim=(1, 2))
    sigma = 2 * norms / (count - 1)
    return torch.where(sigma > 0, sigma, torch.ones_like(sigma))  # equal tokens: any bandwidth will do
