"""Optimal transport against closed forms; with autograd through POT's `emd2` it is compared in test_criteria."""

from concurrent.futures import ThreadPoolExecutor

import ot
import pytest
import torch
from made_tokens import tokens

from lightning_modules.losses import earth_mover
from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.pair_shortlist import pair_shortlist
from lightning_modules.losses.sinkhorn import Sinkhorn
from lightning_modules.losses.token_distances import squared_distances
from lightning_modules.losses.transport import Solver, Transport, transport_cost, uniform_weights


def transport(audio: torch.Tensor, image: torch.Tensor, solver: Solver | None = None) -> Transport:
    weights = uniform_weights(audio), uniform_weights(image)
    return transport_cost(audio, image, *weights, solver or EarthMover())[1]


def test_identical_sets_cost_nothing_in_any_order() -> None:
    audio = tokens(2, 10, 5)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    loss, _ = OptimalTransport()(audio, audio[:, order])
    assert abs(loss.item()) < 1e-12
    plan = transport(audio, audio[:, order]).plan.to_dense()
    torch.testing.assert_close(plan, (torch.eye(10, dtype=torch.float64)[order].T / 10).expand(2, 10, 10))


def test_one_token_costs_its_mean_distance() -> None:
    audio, image = tokens(3, 1, 5), tokens(3, 8, 5, seed=1)
    loss, measures = OptimalTransport()(audio, image)
    torch.testing.assert_close(loss, (audio - image).square().sum(dim=-1).mean())
    torch.testing.assert_close(measures["relative_cost"].item(), 1.0)
    assert measures["solver_seconds"] > 0


def test_a_shift_costs_its_squared_length_and_pulls_back_along_it() -> None:
    audio = tokens(2, 9, 4).requires_grad_()
    shift = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    loss, _ = OptimalTransport()(audio, audio.detach() + shift)
    loss.backward()
    torch.testing.assert_close(loss.item(), shift.square().sum().item())
    torch.testing.assert_close(audio.grad, (-2 * shift / 9 / 2).expand(2, 9, 4))


def test_plan_and_potentials_certify_each_other() -> None:
    """Uniform marginals; potentials that nowhere exceed the cost, and reach it where mass moves."""
    audio, image = tokens(2, 6, 4), tokens(2, 15, 4, seed=1)
    found = transport(audio, image)
    plan, cost = found.plan.to_dense(), squared_distances(audio, image)
    assert plan.shape == (2, 6, 15) and plan.min() >= 0
    torch.testing.assert_close(plan.sum(dim=2), torch.full((2, 6), 1 / 6, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((2, 15), 1 / 15, dtype=torch.float64))
    slack = cost - found.audio_potentials[:, :, None] - found.image_potentials[:, None, :]
    assert slack.min() > -1e-9
    assert slack[plan > 0].abs().max() < 1e-9


def test_where_every_plan_costs_the_same_the_relative_cost_is_one() -> None:
    """All of a picture's tokens in one place, weights of any kind."""
    audio, image = tokens(2, 6, 4), tokens(2, 1, 4, seed=1).expand(2, 5, 4)
    weights = torch.rand(2, 6, dtype=torch.float64).softmax(1), torch.rand(2, 5, dtype=torch.float64).softmax(1)
    _, transport = transport_cost(audio, image, *weights, EarthMover())
    torch.testing.assert_close(transport.measures["relative_cost"].item(), 1.0)
    torch.testing.assert_close(transport.audio_potentials.mean(dim=1), torch.zeros(2, dtype=torch.float64))


def test_sinkhorn_takes_the_place_of_the_exact_solver() -> None:
    """Value and gradient come near the exact ones as the certified gap closes."""
    audio, image = tokens(2, 12, 4).requires_grad_(), tokens(2, 9, 4, seed=1)
    exact, _ = OptimalTransport()(audio, image)
    loss, measures = OptimalTransport(Sinkhorn(max_gap=1e-5, max_levels=60))(audio, image)
    assert measures["solved_exactly"] == 0 and (1 - 1e-12) * exact <= loss <= (1 + 1e-5) * exact
    expected, found = (torch.autograd.grad(value, audio)[0] for value in (exact, loss))
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_the_number_of_threads_changes_nothing() -> None:
    audio, image = tokens(5, 20, 4), tokens(5, 11, 4, seed=1)
    plans = [transport(audio, image, EarthMover(threads)).plan.to_dense() for threads in (1, 4, None)]
    assert all(torch.equal(plan, plans[0]) for plan in plans)


def clustered(generator: torch.Generator) -> torch.Tensor:
    """Tokens (1, 300, 16) tightly around three points."""
    centres = 4 * torch.randn(3, 16, generator=generator)
    return centres[torch.randint(3, (1, 300), generator=generator)] + 0.1 * torch.randn(1, 300, 16, generator=generator)


def clips_with_all_pairs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The clips of a batch for which the shortlist is not enough, as they come."""
    found: list[int] = []
    solve_all = earth_mover.solve_all

    def spy(problems: earth_mover.Problems, pool: ThreadPoolExecutor) -> earth_mover.Solved:
        found.extend(problems.clips.tolist())
        return solve_all(problems, pool)

    monkeypatch.setattr(earth_mover, "solve_all", spy)
    return found


@pytest.mark.parametrize(
    ("kind", "from_the_list"), [("spread", True), ("weighted", True), ("clustered", False), ("a weight of 0", True)]
)
def test_a_shortlist_of_pairs_changes_nothing(kind: str, from_the_list: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cost, marginals and potentials are those of all pairs, whether the listed ones are enough or not."""
    generator = torch.Generator().manual_seed(0)
    audio, image = (torch.randn(1, 300, 16, generator=generator) for _ in range(2))
    if kind == "clustered":
        audio, image = clustered(generator), clustered(generator)
    weights = torch.full((1, 300), 1 / 300), torch.rand(1, 300, generator=generator)
    weights[1][0, :5] *= kind != "a weight of 0"
    weights = weights[0], weights[1] / weights[1].sum() if kind != "spread" else weights[0]
    cost = squared_distances(audio, image)
    monkeypatch.setattr(earth_mover, "MANY_PAIRS", 0)
    with_all_pairs = clips_with_all_pairs(monkeypatch)
    ours = EarthMover()(cost, *weights)
    assert with_all_pairs == ([] if from_the_list else [0])
    a, b = (part.double() / part.double().sum() for part in weights)
    expected = ot.emd2(a[0].numpy(), b[0].numpy(), cost[0].double().numpy(), numItermax=10**6)
    plan = ours.plan.to_dense().double()
    assert ours.cost.item() == pytest.approx(expected, rel=1e-5)
    assert (plan * cost).sum().item() == pytest.approx(expected, rel=1e-5)
    assert (plan.sum(dim=2) - a).abs().max() < 1e-7 and (plan.sum(dim=1) - b).abs().max() < 1e-7
    dual = (ours.audio_potentials * a).sum() + (ours.image_potentials * b).sum()
    assert dual.item() == pytest.approx(expected, rel=1e-5)
    slack = cost - ours.audio_potentials[:, :, None] - ours.image_potentials[:, None]
    assert slack.min() > -1e-3


@pytest.mark.parametrize("unused", [1.0, 1e9])  # a pair that no good plan uses is no reason to be content with less
def test_a_plan_that_is_not_optimal_among_all_pairs_is_found_out(
    unused: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only listed pairs are the diagonal's and those of the northwest corner; the cheapest are elsewhere."""
    weights = torch.full((1, 4), 0.25)
    cost = 1 + torch.eye(4)[None]
    cost[0, 3, 0] = unused
    potentials = torch.zeros(1, 4)
    monkeypatch.setattr(earth_mover, "MANY_PAIRS", 0)
    monkeypatch.setattr(earth_mover, "LONGEST", 1.0)
    monkeypatch.setattr(earth_mover, "pair_shortlist", lambda *_: (torch.eye(4).bool()[None], potentials, potentials))
    monkeypatch.setattr(earth_mover, "scales", lambda cost: torch.ones(len(cost), dtype=torch.float64))
    with_all_pairs = clips_with_all_pairs(monkeypatch)
    assert EarthMover()(cost, weights, weights).cost.item() == 1
    assert with_all_pairs == []  # the second round has them
    monkeypatch.setattr(earth_mover, "ROUNDS", 1)
    assert EarthMover()(cost, weights, weights).cost.item() == 1
    assert with_all_pairs == [0]


def test_clips_of_a_batch_are_solved_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first round, in a later one and with all pairs: each keeps its place in the batch."""
    generator = torch.Generator().manual_seed(0)
    spread = [torch.randn(1, 300, 16, generator=generator) for _ in range(6)]
    audio = torch.cat([clustered(generator), spread[0], clustered(generator), spread[1], spread[2]])
    image = torch.cat([clustered(generator), spread[3], clustered(generator), spread[4], spread[5]])
    weights = torch.rand(5, 300, generator=generator)
    weights /= weights.sum(1, keepdim=True)
    monkeypatch.setattr(earth_mover, "MANY_PAIRS", 0)
    with_all_pairs = clips_with_all_pairs(monkeypatch)
    cost = squared_distances(audio, image)
    cost[3] *= 2.0**40
    found = EarthMover()(cost, weights, weights)
    assert with_all_pairs == [0, 2]
    plan = found.plan.to_dense()
    torch.testing.assert_close(plan.sum(2), weights)
    torch.testing.assert_close(plan.sum(1), weights)
    clip, row, column = found.plan.indices()
    assert ((clip * 300 + row) * 300 + column).diff().min() > 0 and found.plan.values().min() > 0
    for clip in range(5):
        alone = EarthMover()(cost[clip : clip + 1], *[weights[clip : clip + 1]] * 2)
        assert torch.equal(found.cost[clip], alone.cost[0])
        assert torch.equal(plan[clip], alone.plan.to_dense()[0])
        unit = cost[clip].max()
        torch.testing.assert_close(found.audio_potentials[clip] / unit, alone.audio_potentials[0] / unit)
        torch.testing.assert_close(found.image_potentials[clip] / unit, alone.image_potentials[0] / unit)


@pytest.mark.parametrize("listed", [True, False])
def test_the_unit_of_the_costs_decides_nothing(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earth_mover, "MANY_PAIRS", 0 if listed else 10**9)
    cost = squared_distances(tokens(1, 300, 16, dtype=torch.float32), tokens(1, 300, 16, seed=1, dtype=torch.float32))
    weights = torch.full((1, 300), 1 / 300)
    expected = EarthMover()(cost, weights, weights)
    for power in (-60, 60):
        found = EarthMover()(cost * 2.0**power, weights, weights)
        assert torch.equal(found.cost, expected.cost * 2.0**power)
        assert torch.equal(found.plan.to_dense(), expected.plan.to_dense())
        assert torch.equal(found.audio_potentials, expected.audio_potentials * 2.0**power)


@pytest.mark.filterwarnings("error")
def test_far_tokens_without_weight_leave_no_shortlist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between clusters whose kernel vanishes, Sinkhorn's factors grow without bound; all pairs are solved then."""
    monkeypatch.setattr(earth_mover, "MANY_PAIRS", 0)
    generator = torch.Generator().manual_seed(0)
    audio, image = (torch.randn(1, 300, 16, generator=generator) for _ in range(2))
    audio[:, :10] += 300
    image[:, :10] += 300
    a, b = torch.full((1, 300), 1 / 290), torch.full((1, 300), 1 / 300)
    a[:, :10] = 0
    cost = squared_distances(audio, image)
    assert not all(part.isfinite().all() for part in pair_shortlist(cost, a, b))
    expected = ot.emd2((a / a.sum())[0].double().numpy(), b[0].double().numpy(), cost[0].double().numpy())
    assert EarthMover()(cost, a, b).cost.item() == pytest.approx(expected, rel=1e-6)


def test_distances_of_near_twins_are_not_negative() -> None:
    audio = tokens(1, 50, 8, dtype=torch.float32)
    assert squared_distances(audio, audio + 1e-6).min() >= 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_token_that_is_no_number_is_an_error_that_names_the_clip(value: float) -> None:
    audio, image = tokens(3, 6, 4), tokens(3, 5, 4, seed=1)
    audio[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match=r"NaN or infinity in the clips \[1\]"):
        OptimalTransport()(audio, image)


@pytest.mark.filterwarnings("ignore:numItermax")
@pytest.mark.parametrize("many", [0, 200_000])
def test_a_solver_that_stops_early_is_an_error(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earth_mover, "MANY_PAIRS", many)
    monkeypatch.setattr(earth_mover, "MAX_ITERATIONS", 3)
    with pytest.raises(RuntimeError, match="POT stopped early"):
        OptimalTransport()(tokens(1, 40, 4), tokens(1, 40, 4, seed=1))
