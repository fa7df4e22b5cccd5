"""Partial transport against POT and a closed form; its gradients by the tokens are compared in test_criteria."""

import ot
import pytest
import torch
from made_tokens import tokens
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.partial_transport import PartialTransport
from lightning_modules.losses.sinkhorn import Sinkhorn
from lightning_modules.losses.token_distances import squared_distances
from lightning_modules.losses.transport import Solver, transport_cost
from lightning_modules.losses.unbalanced_transport import UnbalancedTransport


def problem(batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Costs (B, 12, 9) and uneven weights."""
    weights = (tokens(batch, n, seed=n).softmax(1) for n in (12, 9))
    return squared_distances(tokens(batch, 12, 8), tokens(batch, 9, 8, seed=1)), *weights


@pytest.mark.parametrize("mass", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("solver", [EarthMover(), Sinkhorn(max_gap=1e-6, max_levels=60)])
def test_cost_and_masses_are_pots(mass: float, solver: Solver) -> None:
    cost, a, b = problem()
    found = PartialTransport(mass, solver)(cost, a, b)
    expected = [ot.partial.partial_wasserstein2(*(part.numpy() for part in clip), m=mass) for clip in zip(a, b, cost)]
    torch.testing.assert_close(found.cost, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0)
    assert found.plan.shape == cost.shape and found.plan.min() >= 0
    torch.testing.assert_close(found.plan.sum(dim=(1, 2)), torch.full((3,), mass, dtype=torch.float64))
    for moved, axis, weights in ((found.audio_mass, 2, a), (found.image_mass, 1, b)):
        torch.testing.assert_close(moved, found.plan.sum(dim=axis))
        assert (moved <= weights + 1e-9).all() and (moved < weights - 1e-3).any()


def test_all_mass_is_the_ordinary_problem() -> None:
    cost, a, b = problem()
    found, exact = PartialTransport(1.0)(cost, a, b), EarthMover()(cost, a, b)
    torch.testing.assert_close(found.cost, exact.cost)
    torch.testing.assert_close(found.plan.to_dense(), exact.plan.to_dense())
    unbalanced = UnbalancedTransport()
    torch.testing.assert_close(PartialTransport(1.0, unbalanced)(cost, a, b).cost, unbalanced(cost, a, b).cost)


def test_what_only_one_modality_has_stays_and_is_not_pulled() -> None:
    """Four tokens that both have, and one each that the other has not: nothing is to be moved."""
    shared = tokens(2, 4, 8)
    audio = torch.cat([shared, 9 + tokens(2, 1, 8, seed=2)], dim=1).requires_grad_()
    image = torch.cat([shared.flip(1), -9 + tokens(2, 1, 8, seed=3)], dim=1)
    criterion = OptimalTransport(PartialTransport(0.8))
    loss, _ = criterion(audio, image)
    loss.backward()
    assert abs(loss.item()) < 1e-9 and audio.grad.abs().max() < 1e-9
    plan, *_ = criterion.couple(audio.detach(), image)
    torch.testing.assert_close(plan[:, :4, :4], (torch.eye(4).double().flip(1) / 5).expand(2, 4, 4))
    assert OptimalTransport()(audio, image)[0] > 100


def test_gradients_by_the_weights_are_pots_differences() -> None:
    audio, image = tokens(1, 6, 8), tokens(1, 5, 8, seed=1)
    a, b = (tokens(1, n, seed=n).softmax(1).requires_grad_() for n in (6, 5))
    cost, _ = transport_cost(audio, image, a, b, PartialTransport(0.6))
    cost.sum().backward()
    distances, step = squared_distances(audio, image)[0].numpy(), 1e-5
    for weights, side in ((a, 0), (b, 1)):
        towards = torch.zeros_like(weights)
        towards[0, 0], towards[0, 1] = 1, -1  # weights go on summing to 1
        values = []
        for sign in (1, -1):
            both = [part.detach().clone() for part in (a, b)]
            both[side] += sign * step * towards
            values.append(ot.partial.partial_wasserstein2(*(part[0].numpy() for part in both), distances, m=0.6))
        slope = (values[0] - values[1]) / (2 * step)
        assert (weights.grad * towards).sum().item() == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("mass", [0.0, -0.1, 1.5])
def test_a_mass_that_is_no_share_is_one_line(mass: float) -> None:
    with pytest.raises(InputError, match="expected a mass over 0 and at most 1, found"):
        PartialTransport(mass)
