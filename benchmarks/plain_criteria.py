"""The criteria one clip at a time by autograd, to test the batched ones against and to measure their speed by."""

from collections.abc import Callable

import ot
import scipy.special
import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def pairwise(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances, (N, D) and (M, D) to (N, M)."""
    return (x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T).clamp(min=0)


def optimal_transport(audio: Tensor, image: Tensor) -> Tensor:
    """Loss of B clips."""
    losses = [
        ot.emd2(ot.unif(len(x), type_as=x), ot.unif(len(y), type_as=y), pairwise(x, y)) for x, y in zip(audio, image)
    ]
    return torch.stack(losses).mean()


def partial_transport(audio: Tensor, image: Tensor, mass: float = 0.8) -> Tensor:
    """Loss of B clips; POT's plan of `mass`, held fixed."""
    losses = []
    for x, y in zip(audio, image):
        cost = pairwise(x, y)
        plan = ot.partial.partial_wasserstein(ot.unif(len(x)), ot.unif(len(y)), cost.detach().numpy(), m=mass)
        losses.append((torch.from_numpy(plan) * cost).sum())
    return torch.stack(losses).mean()


def unbalanced_transport(audio: Tensor, image: Tensor, marginal_weight: float = 1.0) -> Tensor:
    """Loss of B clips; POT's plan by majorisation and minimisation, held fixed, and its divergences."""
    losses = []
    for x, y in zip(audio, image):
        a, b, cost = ot.unif(len(x)), ot.unif(len(y)), pairwise(x, y)
        rho = marginal_weight * cost.mean().item()
        plan = ot.unbalanced.mm_unbalanced(a, b, cost.detach().numpy(), rho, numItermax=20_000, stopThr=0)
        divergences = sum(
            (scipy.special.xlogy(found, found / wanted) - found + wanted).sum()
            for found, wanted in ((plan.sum(1), a), (plan.sum(0), b))
        )
        losses.append((torch.from_numpy(plan) * cost).sum() + rho * divergences)
    return torch.stack(losses).mean()


def without_background(plain: Loss, background: Callable[[Tensor], Tensor], weight: float) -> Loss:
    """A loss of B clips less their backgrounds, and the backgrounds' squared distance.

    Args:
        plain: the loss of what is left.
        background: (B, N, D) to (B, D).
        weight: of the distance.
    """

    def loss(audio: Tensor, image: Tensor) -> Tensor:
        (u, v) = background(audio), background(image)
        return plain(audio - u[:, None], image - v[:, None]) + weight * (u - v).pow(2).sum(1).mean()

    return loss


def pooled_distances(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances between all tokens of a clip, and their mean over pairs of different ones, a constant."""
    pooled = torch.cat([x, y])
    distances = pairwise(pooled, pooled)
    return distances, distances.detach().sum() / (len(pooled) ** 2 - len(pooled))


def mmd(audio: Tensor, image: Tensor) -> Tensor:
    """Loss of B clips."""
    losses = []
    for x, y in zip(audio, image):
        n, (distances, bandwidth) = len(x), pooled_distances(x, y)
        kernel = sum(torch.exp(-distances / (bandwidth * 2.0**r)) for r in range(-2, 3))
        losses.append(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())
    return torch.stack(losses).mean()


def cauchy_schwarz(audio: Tensor, image: Tensor) -> Tensor:
    """Loss of B clips."""
    losses = []
    for x, y in zip(audio, image):
        n, (distances, bandwidth) = len(x), pooled_distances(x, y)
        kernel = torch.exp(-distances / bandwidth)
        cross, within_audio, within_image = kernel[:n, n:].mean(), kernel[:n, :n].mean(), kernel[n:, n:].mean()
        losses.append(-2 * cross.log() + within_audio.log() + within_image.log())
    return torch.stack(losses).mean()


def contrastive(audio: Tensor, image: Tensor, temperature: float = 0.05) -> Tensor:
    """Loss of B clips."""
    audio_means = [x.mean(0) / x.mean(0).norm() for x in audio]
    image_means = [y.mean(0) / y.mean(0).norm() for y in image]
    losses = []
    for mine, theirs in ((audio_means, image_means), (image_means, audio_means)):
        for i, query in enumerate(mine):
            similarities = torch.stack([query @ target / temperature for target in theirs])
            losses.append(-similarities[i] + similarities.exp().sum().log())
    return torch.stack(losses).mean()


def attentive_optimal_transport(attentions: nn.ModuleDict, temperature: float, epsilon: float) -> Loss:
    """Linear maps, `nn.MultiheadAttention`, mean over features, softmax, `ot.emd2`, entropy.

    Args:
        attentions: by modality, with `query`, `key` and `value` maps before an `attention`.
        temperature: of the weights.
        epsilon: weight of the entropy.
    """

    def weigh(modality: str, queries: Tensor, keys: Tensor) -> Tensor:
        module = attentions[modality]
        mapped = module.query(queries[None]), module.key(keys[None]), module.value(keys[None])
        return (module.attention(*mapped)[0][0].mean(1) / temperature).softmax(0)

    def loss(audio: Tensor, image: Tensor) -> Tensor:
        losses = []
        for x, y in zip(audio, image):
            weights = weigh("audio", x, y), weigh("image", y, x)
            entropy = -sum((part * part.log()).sum() for part in weights)
            losses.append(ot.emd2(*weights, pairwise(x, y)) - epsilon * entropy)
        return torch.stack(losses).mean()

    return loss
