"""The loss against autograd through POT's own `emd2`, and against closed forms."""

import ot
import pytest
import torch
from torch import Tensor

from lightning_modules.losses import optimal_transport
from lightning_modules.losses.optimal_transport import OptimalTransport, squared_distances


def tokens(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_emd2(audio: Tensor, image: Tensor) -> Tensor:
    """One clip at a time, cost and gradient by autograd, on every pair of tokens."""
    losses = []
    for x, y in zip(audio, image, strict=True):
        cost = (x[:, None] - y[None]).square().sum(dim=-1)
        losses.append(ot.emd2(ot.unif(len(x), type_as=x), ot.unif(len(y), type_as=y), cost))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize(("num_audio", "num_image"), [(12, 12), (24, 9), (5, 16)])
def test_value_and_gradients_equal_autograd_through_emd2(num_audio, num_image, offset):
    audio = (tokens(3, num_audio, 7) + offset).requires_grad_()
    image = (0.5 * tokens(3, num_image, 7, seed=1) + offset + 0.3).requires_grad_()
    truth = by_emd2(audio, image)
    expected = torch.autograd.grad(truth, (audio, image))
    loss, to_log = OptimalTransport()(audio, image)
    found = torch.autograd.grad(loss, (audio, image))
    torch.testing.assert_close(loss, truth, rtol=1e-5, atol=0)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    assert 0 < to_log["relative_cost"] < 1
    assert to_log["solver_seconds"] > 0


def test_image_tokens_may_be_frozen():
    audio, image = tokens(2, 6, 4).requires_grad_(), tokens(2, 5, 4, seed=1)
    OptimalTransport()(audio, image)[0].backward()
    assert audio.grad.any()
    assert image.grad is None


def test_gradcheck():
    audio, image = tokens(2, 4, 3).requires_grad_(), tokens(2, 3, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: OptimalTransport()(x, y)[0], (audio, image))


def test_identical_sets_cost_nothing_in_any_order():
    audio = tokens(2, 10, 5)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    loss, _ = OptimalTransport()(audio, audio[:, order])
    assert abs(loss.item()) < 1e-12
    plan = OptimalTransport().plan(audio, audio[:, order])
    torch.testing.assert_close(plan, (torch.eye(10, dtype=torch.float64)[order].T / 10).expand(2, 10, 10))


def test_one_token_costs_its_mean_distance():
    audio, image = tokens(3, 1, 5), tokens(3, 8, 5, seed=1)
    loss, _ = OptimalTransport()(audio, image)
    torch.testing.assert_close(loss, (audio - image).square().sum(dim=-1).mean())


def test_a_shift_costs_its_squared_length_and_pulls_back_along_it():
    audio = tokens(2, 9, 4).requires_grad_()
    shift = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    loss, _ = OptimalTransport()(audio, audio.detach() + shift)
    loss.backward()
    torch.testing.assert_close(loss.item(), shift.square().sum().item())
    torch.testing.assert_close(audio.grad, (-2 * shift / 9 / 2).expand(2, 9, 4))


def test_the_plan_has_uniform_marginals():
    plan = OptimalTransport().plan(tokens(2, 6, 4), tokens(2, 15, 4, seed=1))
    assert plan.shape == (2, 6, 15)
    assert plan.min() >= 0
    torch.testing.assert_close(plan.sum(dim=2), torch.full((2, 6), 1 / 6, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((2, 15), 1 / 15, dtype=torch.float64))


def test_the_number_of_threads_changes_nothing():
    audio, image = tokens(5, 20, 4), tokens(5, 11, 4, seed=1)
    plans = [OptimalTransport(num_threads).plan(audio, image) for num_threads in (1, 4, None)]
    assert all(torch.equal(plan, plans[0]) for plan in plans)


@pytest.mark.parametrize(("dtype", "offset"), [(torch.float32, 1000), (torch.bfloat16, 8)])
def test_lower_precision_and_autocast(dtype, offset):
    """Tokens far from the origin, where squares would cancel without centring."""
    audio, image = tokens(2, 32, 64, dtype=dtype) + offset, tokens(2, 24, 64, seed=1, dtype=dtype) + offset
    truth_audio = audio.double().requires_grad_()
    truth = by_emd2(truth_audio, image.double())
    truth.backward()
    audio.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = OptimalTransport()(audio, image)
    loss.backward()
    assert loss.dtype == torch.float32
    assert audio.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), truth, rtol=1e-3, atol=0)
    # a gradient in bfloat16 is rounded to 8 bits
    tolerance = 1e-3 if dtype == torch.float32 else 4e-3
    assert (audio.grad.double() - truth_audio.grad).norm() < tolerance * truth_audio.grad.norm()


def test_distances_of_near_twins_are_not_negative():
    audio = tokens(1, 50, 8, dtype=torch.float32)
    assert squared_distances(audio, audio + 1e-6).min() >= 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_token_that_is_no_number_is_an_error_that_names_the_clip(value):
    audio, image = tokens(3, 6, 4), tokens(3, 5, 4, seed=1)
    audio[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match=r"NaN or infinity in the clips \[1\]"):
        OptimalTransport()(audio, image)


@pytest.mark.filterwarnings("ignore:numItermax")
def test_a_solver_that_stops_early_is_an_error(monkeypatch):
    monkeypatch.setattr(optimal_transport, "MAX_ITERATIONS", 3)
    with pytest.raises(RuntimeError, match="POT stopped early"):
        OptimalTransport()(tokens(1, 40, 4), tokens(1, 40, 4, seed=1))
