"""Unbalanced transport against POT and closed forms; gradients by the tokens are compared in test_criteria."""

import math
from typing import Any

import ot
import pytest
import torch
from made_tokens import tokens
from scipy.special import xlogy
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.token_distances import squared_distances
from lightning_modules.losses.transport import transport_cost
from lightning_modules.losses.unbalanced_transport import UnbalancedTransport


def pot_value(a: Tensor, b: Tensor, cost: Tensor, rho: float) -> float:
    """The optimum of one clip by POT."""
    a, b, cost = (part.double().numpy() for part in (a, b, cost))
    plan = ot.unbalanced.mm_unbalanced(a, b, cost, rho, numItermax=20_000, stopThr=0)
    pairs = ((plan.sum(1), a), (plan.sum(0), b))
    return (plan * cost).sum() + rho * sum((xlogy(x, x / y) - x + y).sum() for x, y in pairs)


@pytest.mark.parametrize(("marginal_weight", "precision"), [(0.1, 2e-4), (0.5, 2e-3), (2.0, 1e-2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_value_is_pots_within_the_gap_that_is_logged(
    marginal_weight: float, precision: float, dtype: torch.dtype
) -> None:
    cost = squared_distances(tokens(3, 12, 8), 0.5 * tokens(3, 9, 8, seed=1) + 0.3).to(dtype)
    a, b = (tokens(3, n, seed=n, dtype=dtype).softmax(1) for n in (12, 9))
    found = UnbalancedTransport(marginal_weight)(cost, a, b)
    gap = found.measures["transport_gap"].item()
    assert 0 <= gap < precision
    for clip in range(3):
        expected = pot_value(a[clip], b[clip], cost[clip], marginal_weight * cost[clip].double().mean().item())
        assert found.cost[clip].item() == pytest.approx(expected, rel=gap + 1e-5)
    torch.testing.assert_close(found.measures["moved_mass"], found.plan.sum(dim=(1, 2)).mean())
    torch.testing.assert_close(found.audio_mass, found.plan.sum(dim=2))
    torch.testing.assert_close(found.image_mass, found.plan.sum(dim=1))


@pytest.mark.parametrize(("num_audio", "num_image"), [(1, 1), (1, 6), (5, 4)])
def test_where_all_costs_are_the_same(num_audio: int, num_image: int) -> None:
    """min over the moved mass m of c m + 2 rho (m log m - m + 1): m = exp(-c / 2 rho), the value 2 rho (1 - m)."""
    cost = torch.full((2, num_audio, num_image), 3.0, dtype=torch.float64)
    weights = (torch.full((2, n), 1 / n, dtype=torch.float64) for n in (num_audio, num_image))
    found = UnbalancedTransport(marginal_weight=0.4)(cost, *weights)
    mass = math.exp(-1 / 0.8)
    torch.testing.assert_close(found.plan, torch.full_like(cost, mass / (num_audio * num_image)), rtol=1e-3, atol=0)
    torch.testing.assert_close(found.cost, torch.full((2,), 2.4 * (1 - mass), dtype=torch.float64), rtol=1e-4, atol=0)


def test_a_high_price_of_mass_is_the_ordinary_problem() -> None:
    audio, image = tokens(2, 12, 8), tokens(2, 9, 8, seed=1)
    exact, _ = OptimalTransport()(audio, image)
    found, measures = OptimalTransport(UnbalancedTransport(50.0, levels=14, sweeps=100))(audio, image)
    assert measures["moved_mass"] > 0.98
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0)


def test_what_only_one_modality_has_loses_its_mass() -> None:
    shared = tokens(1, 4, 8)
    audio = torch.cat([shared, 9 + tokens(1, 1, 8, seed=2)], dim=1)
    image = torch.cat([shared + 0.1, -9 + tokens(1, 1, 8, seed=3)], dim=1)
    cost = squared_distances(audio, image)
    even = torch.full((1, 5), 0.2, dtype=torch.float64)
    found = UnbalancedTransport(0.2)(cost, even, even)
    for moved in (found.audio_mass, found.image_mass):
        assert (moved[0, :4] > 0.15).all() and moved[0, 4] < 0.02


def test_gradients_by_the_weights_are_pots_differences() -> None:
    audio, image = tokens(1, 6, 8), tokens(1, 5, 8, seed=1)
    a, b = (tokens(1, n, seed=n).softmax(1).requires_grad_() for n in (6, 5))
    cost, _ = transport_cost(audio, image, a, b, UnbalancedTransport(0.5, levels=14, sweeps=100))
    cost.sum().backward()
    distances, step = squared_distances(audio, image)[0], 1e-3
    rho = 0.5 * distances.mean().item()
    for weights, side in ((a, 0), (b, 1)):
        towards = torch.zeros_like(weights)
        towards[0, 0], towards[0, 1] = 1, -1
        values = []
        for sign in (1, -1):
            both = [part.detach().clone() for part in (a, b)]
            both[side] += sign * step * towards
            values.append(pot_value(both[0][0], both[1][0], distances, rho))
        slope = (values[0] - values[1]) / (2 * step)
        assert (weights.grad * towards).sum().item() == pytest.approx(slope, rel=0.02, abs=0.02)


def test_far_tokens_stay_finite() -> None:
    """Costs a million times apart within one clip, in float32."""
    audio = torch.tensor([[[0.0], [1.0], [1000.0]]])
    even = torch.full((1, 3), 1 / 3)
    found = UnbalancedTransport()(squared_distances(audio, audio.flip(1)), even, even)
    assert found.plan.isfinite().all() and found.cost.isfinite().all() and found.audio_potentials.isfinite().all()
    assert found.measures["transport_gap"] < 0.05


def test_a_cost_that_is_no_number_names_the_clip() -> None:
    cost = torch.rand(3, 6, 5)
    cost[1, 2, 3] = float("nan")
    with pytest.raises(FloatingPointError, match=r"in the clips \[1\]"):
        UnbalancedTransport()(cost, torch.full((3, 6), 1 / 6), torch.full((3, 5), 0.2))


@pytest.mark.parametrize("wrong", [{"marginal_weight": 0.0}, {"marginal_weight": -1.0}, {"levels": 0}, {"sweeps": 0}])
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a marginal_weight above 0 and levels and sweeps of at least 1"):
        UnbalancedTransport(**wrong)
