"""MMD against closed forms; with the plain version it is compared in test_criteria."""

import math

import torch
from made_tokens import tokens

from lightning_modules.losses.kernels import mean_squared_distance
from lightning_modules.losses.mmd import MMD, mean_kernel


def test_two_single_tokens() -> None:
    """One token each: sigma is their squared distance d, so MMD^2 = 2 (5 - sum over r of exp(-2^-r))."""
    audio, image = tokens(3, 1, 5), tokens(3, 1, 5, seed=1)
    loss, measures = MMD()(audio, image)
    expected = 2 * (5 - sum(math.exp(-(2.0**-r)) for r in range(-2, 3)))
    torch.testing.assert_close(loss.item(), expected)
    torch.testing.assert_close(measures["bandwidth"], (audio - image).square().sum(dim=-1).mean())


def test_equal_sets_in_any_order_have_none() -> None:
    audio = tokens(2, 10, 4)
    loss, _ = MMD()(audio, audio[:, torch.randperm(10)])
    assert abs(loss.item()) < 1e-12


def test_it_does_not_change_with_the_scale_or_place_of_all_tokens() -> None:
    audio, image = tokens(2, 10, 4), tokens(2, 7, 4, seed=1) + 0.5
    torch.testing.assert_close(MMD()(audio, image)[0], MMD()(30 * audio + 4, 30 * image + 4)[0])


def test_the_bandwidth_is_the_mean_over_pairs_of_different_tokens() -> None:
    audio, image = tokens(2, 5, 3), tokens(2, 4, 3, seed=1)
    mean = torch.cat([audio, image], 1).mean(1, keepdim=True)
    pooled = torch.cat([audio, image], 1)
    expected = torch.stack([torch.pdist(clip).square().mean() for clip in pooled])
    torch.testing.assert_close(mean_squared_distance(audio - mean, image - mean), expected)


def test_the_slope_is_the_derivative_by_the_distances() -> None:
    distances = tokens(2, 4, 3).square().requires_grad_()
    sigma = torch.tensor([1.0, 3.0], dtype=torch.float64)
    kernel = sum(torch.exp(-distances / (2.0**r * sigma[:, None, None])) for r in range(-2, 3))
    truth = kernel.mean(dim=(1, 2))
    value, slope = mean_kernel(distances.detach().clone(), sigma)
    torch.testing.assert_close(value, truth.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(truth.sum(), distances)[0])
