"""The schedule of the weights; value and gradients are compared with a plain version in test_criteria."""

import inspect
import math

import pytest
import torch
import yaml
from conftest import REPOSITORY
from made_tokens import tokens

from earshot.errors import InputError
from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.transport import transport_cost


@pytest.fixture()
def criterion() -> AttentiveOptimalTransport:
    torch.manual_seed(0)
    return AttentiveOptimalTransport(16, num_heads=4, temperature=0.05, entropy_weights=(5.0, 4.0, 3.0)).double()


AUDIO, IMAGE = tokens(2, 12, 16), tokens(2, 9, 16, seed=1)


def test_the_paper_is_the_default() -> None:
    """Temperature 20, 500 to 100 over the epochs 2 to 6, no uniform part but in the first epoch."""
    paper = AttentiveOptimalTransport(16)
    assert (paper.temperature, paper.uniform_mix, paper.uniform_epochs) == (20, 0, 1)
    found = []
    for epoch in range(8):
        paper.set_epoch(epoch)
        found.append(paper(AUDIO.float(), IMAGE.float())[1]["entropy_weight"])
    assert found[1:] == [500, 400, 300, 200, 100, 100, 100]
    overlay = yaml.safe_load((REPOSITORY / "configs/paper/attentive_ot.yaml").read_text())
    arguments = overlay["model"]["init_args"]["criterion"]["init_args"]
    default = inspect.signature(AttentiveOptimalTransport).parameters
    assert {key: default[key].default for key in arguments} == arguments | {
        "entropy_weights": tuple(arguments["entropy_weights"])
    }


def test_tokens_of_another_width_are_one_line(criterion: AttentiveOptimalTransport) -> None:
    with pytest.raises(InputError, match="expected tokens of width 16, found 8; set the criterion's width to 8"):
        criterion(AUDIO[..., :8], IMAGE[..., :8])


def test_in_the_first_epoch_it_is_optimal_transport_and_the_attention_holds_still(
    criterion: AttentiveOptimalTransport,
) -> None:
    audio = AUDIO.clone().requires_grad_()
    loss, measures = criterion(audio, IMAGE)
    truth, _ = OptimalTransport()(AUDIO, IMAGE)
    torch.testing.assert_close(loss, truth - 5 * (math.log(12) + math.log(9)))
    torch.testing.assert_close(measures["audio_entropy"].item(), measures["audio_entropy_uniform"])
    loss.backward()
    # zero, not None: DDP waits for every parameter
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in criterion.parameters())
    expected = torch.autograd.grad(OptimalTransport()(audio, IMAGE)[0], audio)[0]
    torch.testing.assert_close(audio.grad, expected)


def test_uniform_validation_is_optimal_transport_and_training_is_not(criterion: AttentiveOptimalTransport) -> None:
    criterion.uniform_validation = True
    criterion.set_epoch(3)
    truth, _ = OptimalTransport()(AUDIO, IMAGE)
    trained = criterion(AUDIO, IMAGE)[0]
    criterion.eval()
    torch.testing.assert_close(criterion(AUDIO, IMAGE)[0], truth)
    criterion.uniform_validation = False
    assert abs(criterion(AUDIO, IMAGE)[0] - truth) > 1e-3 and abs(trained - truth) > 1e-3


def test_validation_compares_across_epochs(criterion: AttentiveOptimalTransport) -> None:
    """The attention's weights and the last epsilon, whatever the epoch."""
    criterion.eval()
    values = []
    for epoch in (0, 1, 9):
        criterion.set_epoch(epoch)
        values.append(criterion(AUDIO, IMAGE)[0])
    assert values[0] == values[1] == values[2]
    criterion.train()
    assert criterion(AUDIO, IMAGE)[0] == values[0]  # epoch 9


def test_the_authors_mix(criterion: AttentiveOptimalTransport) -> None:
    criterion.set_epoch(1)
    pure = criterion.weights(AUDIO, IMAGE)
    criterion.uniform_mix = 0.5
    for mixed, weights, count in zip(criterion.weights(AUDIO, IMAGE), pure, (12, 9)):
        torch.testing.assert_close(mixed, (weights + 1 / count) / 2)


def test_what_is_logged(criterion: AttentiveOptimalTransport) -> None:
    criterion.set_epoch(1)
    _, image_weights = criterion.weights(AUDIO, IMAGE)
    _, measures = criterion(AUDIO, IMAGE)
    entropy = torch.distributions.Categorical(image_weights).entropy().mean()
    torch.testing.assert_close(measures["image_entropy"], entropy)
    assert measures["image_entropy"] < measures["image_entropy_uniform"] == math.log(9)
    audio_weights, _ = criterion.weights(AUDIO, IMAGE)
    heaviest = audio_weights.sort(descending=True).values[:, :10].sum(1).mean()
    torch.testing.assert_close(measures["audio_top10_mass"], heaviest)
    torch.testing.assert_close(measures["image_top10_mass"].item(), 1.0)  # of nine tokens
    assert {"relative_cost", "solver_seconds"} <= set(measures)


def test_the_transport_of_a_clip_has_the_learnt_weights(criterion: AttentiveOptimalTransport) -> None:
    criterion.set_epoch(1)
    plan = transport_cost(AUDIO, IMAGE, *criterion.weights(AUDIO, IMAGE), criterion.solver)[1].plan.to_dense()
    for found, expected in zip((plan.sum(2), plan.sum(1)), criterion.weights(AUDIO, IMAGE)):
        torch.testing.assert_close(found, expected.detach())


def test_without_entropy_the_weights_flee_to_the_nearest_tokens(criterion: AttentiveOptimalTransport) -> None:
    """The paper's trivial solution; the entropy prevents it."""
    left = {}
    for epsilon in (0.0, 20.0):
        torch.manual_seed(0)
        trained = AttentiveOptimalTransport(16, 4, temperature=0.05, entropy_weights=(epsilon,)).double()
        trained.set_epoch(1)
        optimizer = torch.optim.Adam(trained.parameters(), 1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            loss, measures = trained(AUDIO, IMAGE)
            loss.backward()
            optimizer.step()
        left[epsilon] = measures["image_entropy"] / math.log(9)
    assert left[0.0] < 0.5
    assert left[20.0] > 0.95


def test_weights_that_underflow_have_a_finite_gradient(criterion: AttentiveOptimalTransport) -> None:
    criterion.set_epoch(1)
    criterion.temperature = 1e-6
    assert criterion.weights(AUDIO, IMAGE)[0].min() == 0
    criterion(AUDIO, IMAGE)[0].backward()
    assert all(parameter.grad.isfinite().all() for parameter in criterion.parameters())


@pytest.mark.parametrize("values", [{"temperature": 0.0}, {"temperature": -1.0}, {"uniform_mix": 2.0}])
def test_values_that_make_no_sense(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected a temperature above 0 and a uniform_mix from 0 to 1"):
        AttentiveOptimalTransport(width=16, num_heads=2, **values)  # type: ignore[arg-type]  # floats alone
