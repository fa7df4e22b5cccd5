"""The solver's bounds against POT's exact optimum, on easy and on spiteful costs."""

from collections.abc import Iterable

import numpy as np
import ot
import pytest
import torch
from conftest import MINIATURE
from torch import Tensor

from lightning_modules.losses import sinkhorn
from lightning_modules.losses.sinkhorn import Sinkhorn
from lightning_modules.losses.token_distances import squared_distances
from lightning_modules.losses.transport import Transport
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.image_encoder import ImageEncoder
from miniature import world


def uniform(batch: int, num_tokens: int) -> Tensor:
    return torch.full((batch, num_tokens), 1 / num_tokens, dtype=torch.float64)


def check(cost: Tensor, a: Tensor, b: Tensor, transport: Transport, max_gap: float = 0.01) -> None:
    """Marginals, feasibility, bounds around the exact optimum, and the gap that was promised."""
    tolerance = 1e-6 if cost.dtype == torch.float32 else 1e-12
    plan, u, v = (x.double() for x in (transport.plan, transport.audio_potentials, transport.image_potentials))
    scale = cost.mean(dim=(1, 2)).double()
    assert plan.min() >= 0
    assert ((plan.sum(dim=2) - a).abs() <= tolerance).all()
    assert ((plan.sum(dim=1) - b).abs() <= tolerance).all()
    assert ((u[:, :, None] + v[:, None] - cost).amax(dim=(1, 2)) <= 10 * tolerance * scale).all()
    assert (u.mean(dim=1).abs() <= tolerance * scale).all()
    lower, upper = (a * u).sum(dim=1) + (b * v).sum(dim=1), (plan * cost).sum(dim=(1, 2))
    solved = [ot.emd2(*(x.double().numpy() for x in clip), numItermax=10**7) for clip in zip(a, b, cost, strict=True)]
    exact = torch.tensor(solved, dtype=torch.float64)
    assert (lower <= exact + tolerance * scale).all()
    assert (exact <= upper + tolerance * scale).all()
    torch.testing.assert_close(transport.cost.double(), upper, rtol=10 * tolerance, atol=1e-12)
    gap = (upper - lower) / torch.maximum(upper, 0.01 * scale).clamp(min=1e-30)
    assert (gap <= max_gap + 1000 * tolerance).all()
    assert transport.measures["transport_gap"] <= max_gap
    assert transport.measures["solved_exactly"] == 0
    assert transport.measures["transport_gap"] == pytest.approx(gap.max().item(), abs=1000 * tolerance)


def case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """One clip of 1 to 40 tokens a side in 1 to 64 dimensions, spread or in clusters, weights of every size."""
    random = torch.Generator().manual_seed(seed)
    n, m, width, clusters = (int(torch.randint(1, top, (), generator=random)) for top in (41, 41, 65, 6))
    centres = 5 * torch.randn(clusters, width, generator=random, dtype=torch.float64)
    x, y = (torch.randn(size, width, generator=random, dtype=torch.float64) for size in (n, m))
    if seed % 3 == 0:
        x = 0.3 * x + centres[torch.randint(clusters, (n,), generator=random)]
        y = 0.3 * y + centres[torch.randint(clusters, (m,), generator=random)]
    weights = []
    for size in (n, m):
        w = torch.rand(1, size, generator=random, dtype=torch.float64) ** (1, 3, 12)[seed % 3]
        if seed % 5 == 0 and size > 1:
            w[:, 0] = 0
        weights.append(w / w.sum())
    return squared_distances(x[None], y[None]), *weights


# those of 1482 and 3081 are islands that lose touch, unless their regularisation rises again
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seeds", [range(40), range(40, 80), range(80, 120), (1482, 3081)])
def test_the_exact_cost_lies_between_the_bounds(seeds: Iterable[int], dtype: torch.dtype) -> None:
    for seed in seeds:
        cost, a, b = case(seed)
        cost = cost.to(dtype)
        check(cost, a, b, Sinkhorn(max_levels=150)(cost, a.to(dtype), b.to(dtype)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_tokens(dtype: torch.dtype) -> None:
    cost = squared_distances(torch.randn(3, 128, 96), torch.randn(3, 64, 96)).to(dtype)
    a, b = uniform(3, 128), uniform(3, 64)
    transport = Sinkhorn()(cost, a.to(dtype), b.to(dtype))
    assert {x.dtype for x in (transport.plan, transport.audio_potentials, transport.image_potentials)} == {dtype}
    check(cost, a, b, transport)


def test_a_smaller_gap_is_kept_too() -> None:
    cost, a, b = torch.rand(2, 20, 30, dtype=torch.float64), uniform(2, 20), uniform(2, 30)
    check(cost, a, b, Sinkhorn(max_gap=1e-3)(cost, a, b), max_gap=1e-3)


def test_tokens_of_the_miniature() -> None:
    audio_encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae").eval()
    image_encoder = ImageEncoder.from_pretrained(MINIATURE / "llava").eval()
    sounds, pictures = [], []
    for index in range(4):
        clip, *rest = (world.generator(0, "audioset/val", index, what) for what in ("clip", "sound", "pictures"))
        made = world.make_clip(clip, world.AUDIOSET)
        sounds.append(world.sound(made, world.AUDIOSET, rest[0]))
        pictures.append(world.picture(made, rest[1]))
    waveforms, pixels = torch.from_numpy(np.stack(sounds)), torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = audio_encoder.features(waveforms, torch.full((4,), waveforms.shape[1]))
        cost = squared_distances(audio_encoder(features), image_encoder(pixels))
    assert cost.shape == (4, 128, 64)
    a, b = uniform(4, 128), uniform(4, 64)
    check(cost, a, b, Sinkhorn()(cost, a.float(), b.float()))


def test_identical_sets_cost_nothing_in_any_order() -> None:
    tokens, order = torch.randn(2, 30, 8, dtype=torch.float64), torch.randperm(30)
    cost, weights = squared_distances(tokens, tokens[:, order]), uniform(2, 30)
    transport = Sinkhorn()(cost, weights, weights)
    check(cost, weights, weights, transport)
    twins = torch.eye(30, dtype=torch.float64)[order].T / 30
    torch.testing.assert_close(transport.plan, twins.expand(2, 30, 30), rtol=0, atol=0.02 / 30)


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_equal_tokens(level: float) -> None:
    cost, a, b = torch.full((2, 5, 9), level, dtype=torch.float64), uniform(2, 5), uniform(2, 9)
    check(cost, a, b, Sinkhorn(max_gap=1e-6)(cost, a, b), max_gap=1e-6)


@pytest.mark.parametrize(("num_audio", "num_image"), [(1, 8), (8, 1), (1, 1)])
def test_one_token_leaves_no_choice(num_audio: int, num_image: int) -> None:
    cost = torch.rand(2, num_audio, num_image, dtype=torch.float64)
    a, b = (torch.rand(2, n, dtype=torch.float64).softmax(dim=1) for n in (num_audio, num_image))
    transport = Sinkhorn(max_gap=1e-6)(cost, a, b)
    torch.testing.assert_close(transport.plan, a[:, :, None] * b[:, None])
    check(cost, a, b, transport, max_gap=1e-6)


def test_rounding_gives_the_marginals_to_any_matrix() -> None:
    a, b = torch.rand(3, 6).double().softmax(dim=1), torch.rand(3, 4).double().softmax(dim=1)
    rounded = sinkhorn.round_to_marginals(torch.rand(3, 6, 4).double() / 10, a, b)
    torch.testing.assert_close(rounded.sum(dim=2), a)
    torch.testing.assert_close(rounded.sum(dim=1), b)
    torch.testing.assert_close(sinkhorn.round_to_marginals(rounded, a, b), rounded)


def test_a_clip_does_not_depend_on_its_batch_mates() -> None:
    """Neither on easy ones, nor on ones that need many more levels."""
    easy, twins = squared_distances(torch.randn(2, 24, 96), torch.randn(2, 24, 96)), torch.randn(1, 24, 2)
    cost = torch.cat([easy, squared_distances(twins, twins + torch.rand(1, 24, 2))]).double()
    weights = uniform(3, 24)
    together = Sinkhorn()(cost, weights, weights)
    sweeps = []
    for i in range(3):
        alone = Sinkhorn()(cost[i : i + 1], weights[:1], weights[:1])
        sweeps.append(alone.measures["solver_sweeps"])
        torch.testing.assert_close(alone.plan[0], together.plan[i], rtol=0, atol=1e-6 / 24)
        torch.testing.assert_close(alone.audio_potentials[0], together.audio_potentials[i], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(alone.image_potentials[0], together.image_potentials[i], rtol=1e-6, atol=1e-6)
    assert sweeps[0] < sweeps[2] == together.measures["solver_sweeps"]


def test_what_the_levels_do_not_solve_is_solved_exactly() -> None:
    cost, weights = torch.rand(3, 30, 30, dtype=torch.float64), uniform(3, 30)
    cost[1] = 1 - torch.eye(30)  # twins: solved at once
    transport = Sinkhorn(max_gap=1e-9, max_levels=2)(cost, weights, weights)
    assert transport.measures["solved_exactly"] == 2
    exact = [ot.emd2(*(x.numpy() for x in clip)) for clip in zip(weights, weights, cost, strict=True)]
    torch.testing.assert_close(transport.cost, torch.tensor(exact, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(transport.plan.sum(dim=2), weights)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_cost_that_is_no_number_is_an_error_that_names_the_clip(value: float) -> None:
    cost = torch.rand(3, 6, 5)
    cost[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match=r"NaN or infinity in the clips \[1\]"):
        Sinkhorn()(cost, uniform(3, 6), uniform(3, 5))
