"""The Cauchy-Schwarz divergence against closed forms; with the plain version it is compared in test_criteria."""

import math

import pytest
import torch
from made_tokens import tokens

from earshot.errors import InputError
from lightning_modules.losses.cauchy_schwarz import CauchySchwarz, log_mean_kernel


def test_two_single_tokens() -> None:
    """One token each: k(x, x) = 1 and sigma is their squared distance, so the divergence is 2 / bandwidth."""
    audio, image = tokens(3, 1, 5), tokens(3, 1, 5, seed=1)
    torch.testing.assert_close(CauchySchwarz()(audio, image)[0].item(), 2.0)
    torch.testing.assert_close(CauchySchwarz(bandwidth=0.25)(audio, image)[0].item(), 8.0)


def test_equal_sets_in_any_order_have_none() -> None:
    audio = tokens(2, 10, 4)
    assert abs(CauchySchwarz()(audio, audio[:, torch.randperm(10)])[0].item()) < 1e-12


def test_two_gaussians() -> None:
    """Samples of N(0, I) and N(m, I) under a kernel of variance s / 2: |m|^2 / (2 + s / 2)."""
    shift = torch.tensor([1.5, 0.0], dtype=torch.float64)
    audio, image = tokens(1, 4000, 2), tokens(1, 4000, 2, seed=1) + shift
    loss, measures = CauchySchwarz()(audio, image)
    assert math.isclose(loss.item(), shift.square().sum() / (2 + measures["bandwidth"].item() / 2), rel_tol=0.03)


def test_kernels_that_underflow_have_a_gradient() -> None:
    audio, image = (0.01 * tokens(1, 3, 2)).requires_grad_(), 0.01 * tokens(1, 3, 2, seed=1) + 5
    loss, _ = CauchySchwarz(bandwidth=1e-4)(audio, image)
    loss.backward()
    assert loss.isfinite() and loss > 1000
    assert audio.grad.isfinite().all() and (audio.grad.sum(dim=1) < 0).all()  # towards the picture


def test_the_slope_is_the_derivative_by_the_distances() -> None:
    distances = tokens(2, 4, 3).square().requires_grad_()
    width = torch.tensor([1.0, 3.0], dtype=torch.float64)
    kernel = torch.exp(-distances / width[:, None, None])
    truth = kernel.mean(dim=(1, 2)).log()
    value, slope = log_mean_kernel(distances.detach().clone(), width)
    torch.testing.assert_close(value, truth.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(truth.sum(), distances)[0])


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("nan")])
def test_a_bandwidth_that_is_none(bandwidth: float) -> None:
    with pytest.raises(InputError, match="expected a bandwidth above 0"):
        CauchySchwarz(bandwidth)
