"""What holds for every criterion: it equals a plain version, one clip at a time by autograd, and survives odd clips."""

from dataclasses import dataclass
from functools import partial as partial_function
from pathlib import Path

import pytest
import torch
from made_tokens import tokens
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks import plain_criteria
from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.losses.backgrounds import ClipMedian, ModalityMean
from lightning_modules.losses.cauchy_schwarz import CauchySchwarz
from lightning_modules.losses.contrastive import Contrastive
from lightning_modules.losses.mmd import MMD
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.partial_transport import PartialTransport
from lightning_modules.losses.unbalanced_transport import UnbalancedTransport
from lightning_modules.losses.weighted_sum import WeightedSum
from lightning_modules.losses.without_background import WithoutBackground

WIDTH = 16


@dataclass(frozen=True)
class Case:
    """A criterion and its plain version.

    Attributes:
        tolerance: of value and gradients, relative; both solvers of unbalanced transport are approximate, and its
            values are compared more closely in a file of their own.
        sees_origin: whether a shift of both modalities changes the value.
    """

    criterion: nn.Module
    plain: plain_criteria.Loss
    tolerance: float = 1e-5
    sees_origin: bool = False


def attentive() -> Case:
    """At a low temperature, so that the weights are far from uniform; the plain version uses the same parameters."""
    torch.manual_seed(0)
    criterion = AttentiveOptimalTransport(WIDTH, num_heads=4, temperature=0.05, entropy_weights=(3.0,)).double()
    criterion.set_epoch(1)
    attentions = nn.ModuleDict({"audio": criterion.audio_attention, "image": criterion.image_attention})
    plain = plain_criteria.attentive_optimal_transport(attentions, temperature=0.05, epsilon=3.0)
    return Case(criterion, plain, sees_origin=True)


def partial() -> Case:
    return Case(OptimalTransport(PartialTransport(0.7)), lambda *both: plain_criteria.partial_transport(*both, 0.7))


def unbalanced() -> Case:
    solver = UnbalancedTransport(marginal_weight=0.5, levels=16, sweeps=120)
    plain = partial_function(plain_criteria.unbalanced_transport, marginal_weight=0.5)
    return Case(OptimalTransport(solver), plain, tolerance=5e-2)


def without_modality_mean() -> Case:
    def mean(tokens: Tensor) -> Tensor:
        return tokens.flatten(0, 1).mean(0).expand(len(tokens), -1)

    plain = plain_criteria.without_background(plain_criteria.partial_transport, mean, 0.5)
    return Case(WithoutBackground(OptimalTransport(PartialTransport()), ModalityMean(), 0.5), plain)


def without_clip_median() -> Case:
    def middle(tokens: Tensor) -> Tensor:
        return tokens.sort(1).values[:, (tokens.shape[1] - 1) // 2]

    plain = plain_criteria.without_background(plain_criteria.optimal_transport, middle, 0.5)
    return Case(WithoutBackground(OptimalTransport(), ClipMedian(), 0.5), plain)


def fused() -> Case:
    criterion = WeightedSum({"ot": OptimalTransport(), "means": Contrastive()}, {"ot": 0.5, "means": 3.0})

    def plain(audio: Tensor, image: Tensor) -> Tensor:
        return plain_criteria.optimal_transport(audio, image) / 2 + 3 * plain_criteria.contrastive(audio, image)

    return Case(criterion, plain, sees_origin=True)


CASES = {
    "mmd": lambda: Case(MMD(), plain_criteria.mmd),
    "optimal_transport": lambda: Case(OptimalTransport(), plain_criteria.optimal_transport),
    "attentive_optimal_transport": attentive,
    "contrastive": lambda: Case(Contrastive(), plain_criteria.contrastive, sees_origin=True),
    "cauchy_schwarz": lambda: Case(CauchySchwarz(), plain_criteria.cauchy_schwarz),
    "partial": partial,
    "unbalanced": unbalanced,
    "without_modality_mean": without_modality_mean,
    "without_clip_median": without_clip_median,
    "fused": fused,
}
COMPARING_CLIPS = {"contrastive", "fused", "without_modality_mean"}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("num_audio", "num_image"), [(12, 12), (24, 9), (5, 16)])
def test_value_and_gradients_equal_the_plain_version(case: Case, num_audio: int, num_image: int, offset: float) -> None:
    audio = (tokens(3, num_audio, WIDTH) + offset).requires_grad_()
    image = (0.5 * tokens(3, num_image, WIDTH, seed=1) + offset + 0.3).requires_grad_()
    leaves = (audio, image, *case.criterion.parameters())
    found, _ = case.criterion(audio, image)
    truth = case.plain(audio, image)
    torch.testing.assert_close(found, truth, rtol=case.tolerance, atol=0)
    for ours, theirs in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(truth, leaves), strict=True):
        # softmax knows no common offset: the gradients of some biases are rounding errors
        assert (ours - theirs).norm() < case.tolerance * theirs.norm() + 1e-12


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"mmd", "cauchy_schwarz", "unbalanced"}), indirect=True)
def test_gradcheck(case: Case) -> None:
    """Of those whose bandwidth, or price of mass, counts as a constant, the parts alone: in files of their own.

    Two of the parameters are enough: the test above compares all of them, and finite differences take their time.
    """
    some = list(case.criterion.parameters())[:2]
    audio, image = tokens(2, 4, WIDTH).requires_grad_(), tokens(2, 3, WIDTH, seed=1).requires_grad_()

    def loss(audio: Tensor, image: Tensor, *_: Tensor) -> Tensor:
        return case.criterion(audio, image)[0]

    assert torch.autograd.gradcheck(loss, (audio, image, *some), atol=1e-4)


def test_image_tokens_may_be_frozen(case: Case) -> None:
    audio, image = tokens(2, 6, WIDTH).requires_grad_(), tokens(2, 5, WIDTH, seed=1)
    case.criterion(audio, image)[0].backward()
    assert audio.grad is not None and audio.grad.any()
    assert image.grad is None


@pytest.mark.parametrize(("num_audio", "num_image"), [(1, 1), (1, 7), (7, 1), (6, 6)])
@pytest.mark.parametrize("equal", [True, False])
def test_one_token_or_equal_tokens_give_finite_gradients(
    case: Case, num_audio: int, num_image: int, equal: bool
) -> None:
    audio, image = tokens(3, num_audio, WIDTH), tokens(3, num_image, WIDTH, seed=1)
    if equal:  # all tokens of a clip, both modalities, in one place
        audio, image = audio[:, :1].expand_as(audio).clone(), audio[:, :1].expand_as(image).clone()
    leaves = (audio.requires_grad_(), image.requires_grad_(), *case.criterion.parameters())
    loss, measures = case.criterion(audio, image)
    loss.backward()
    assert loss.isfinite()
    assert all(torch.as_tensor(value).isfinite() for value in measures.values())
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize(("dtype", "offset"), [(torch.float32, 1000.0), (torch.bfloat16, 8.0)])
@pytest.mark.parametrize("autocast", [True, False])
def test_low_precision(case: Case, dtype: torch.dtype, offset: float, autocast: bool) -> None:
    """Values are those of the same tokens in float64, even far from the origin where squares would cancel."""
    audio = tokens(2, 32, WIDTH, dtype=dtype) + offset
    image = 0.7 * tokens(2, 24, WIDTH, seed=1, dtype=dtype) + offset
    if case.sees_origin:
        audio, image = audio - offset, image - offset
    if isinstance(case.criterion, AttentiveOptimalTransport):  # at .05 it would show the precision of autocast alone
        case.criterion.temperature = 1.0
    exact_audio = audio.double().requires_grad_()
    truth, _ = case.criterion(exact_audio, image.double())
    truth.backward()
    case.criterion.float()
    audio.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, _ = case.criterion(audio, image)
    loss.backward()
    assert loss.dtype == torch.float32
    assert audio.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), truth, rtol=1e-3, atol=0)
    # a gradient in bfloat16 is rounded to 8 bits, and attention under autocast is computed in them
    tolerance = 1e-3 if dtype == torch.float32 and not autocast else 1e-2
    assert (audio.grad.double() - exact_audio.grad).norm() < tolerance * exact_audio.grad.norm()


@pytest.mark.parametrize("case", sorted(CASES.keys() - COMPARING_CLIPS), indirect=True)
def test_a_clip_does_not_depend_on_its_mates(case: Case) -> None:
    """The loss is the mean over the clips; but for those that compare clips with one another."""
    together, apart = together_and_apart(case)
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("case", sorted(COMPARING_CLIPS), indirect=True)
def test_clips_that_are_compared_do(case: Case) -> None:
    together, apart = together_and_apart(case)
    assert abs(together - apart) > 0.1
    if isinstance(case.criterion, Contrastive):
        assert apart == 0


def together_and_apart(case: Case) -> tuple[Tensor, Tensor]:
    """The loss of a batch, and the mean of its clips' own losses."""
    audio, image = tokens(4, 8, WIDTH), tokens(4, 6, WIDTH, seed=1)
    apart = [case.criterion(audio[i : i + 1], image[i : i + 1])[0] for i in range(4)]
    return case.criterion(audio, image)[0], torch.stack(apart).mean()


class Aligned(nn.Module):
    """An encoder of one layer and a criterion, in one module for DDP, as in the stage."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(WIDTH, WIDTH).double()
        self.criterion = criterion

    def forward(self, audio: Tensor, image: Tensor) -> Tensor:
        return self.criterion(self.encoder(audio), image)[0]


def batch() -> tuple[Tensor, Tensor]:
    return tokens(8, 5, WIDTH), tokens(8, 3, WIDTH, seed=1)


def losses_on_a_rank(rank: int, folder: str) -> None:
    """Loss and gradients of every criterion, with half of the clips on each of two ranks."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    audio, image = (part[4 * rank : 4 * rank + 4] for part in batch())
    results = {name: losses_of(DistributedDataParallel(Aligned(make().criterion)), audio, image) for name, make in
               CASES.items()}  # fmt: skip
    if rank == 0:
        torch.save(results, f"{folder}/results.pt")
    distributed.barrier()
    distributed.destroy_process_group()  # of which no model is left: one that dies later may wait for it for ever


def losses_of(model: DistributedDataParallel, audio: Tensor, image: Tensor) -> tuple:
    """The mean loss of the ranks, the gradients, and this rank's own loss in evaluation."""
    for _ in range(2):  # DDP complains of a parameter without a gradient in the step that follows
        model.zero_grad()
        loss = model(audio, image)
        loss.backward()
    mean = loss.detach().clone()
    distributed.all_reduce(mean)
    model.eval()  # ranks may have different numbers of clips then: each keeps to its own
    return mean / 2, [p.grad for p in model.parameters()], model.module(audio, image).detach()


def test_two_ranks_train_as_one(tmp_path: Path) -> None:
    multiprocessing.spawn(losses_on_a_rank, (str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "results.pt", weights_only=True)
    assert set(found) == set(CASES)
    for name, (loss, gradients, validated) in found.items():
        model = Aligned(CASES[name]().criterion)
        truth = model(*batch())
        truth.backward()
        torch.testing.assert_close(loss, truth.detach(), rtol=1e-5, atol=0, msg=name)
        for ours, parameter in zip(gradients, model.parameters(), strict=True):
            assert (ours - parameter.grad).norm() <= 1e-5 * parameter.grad.norm() + 1e-12, name
        model.eval()
        torch.testing.assert_close(validated, model(*(part[:4] for part in batch())).detach(), msg=name)
