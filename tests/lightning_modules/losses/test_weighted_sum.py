"""Sums of criteria; the value and its gradients are compared with a plain version in test_criteria."""

import pytest
import torch
from made_tokens import tokens

from earshot.errors import InputError
from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.losses.contrastive import Contrastive
from lightning_modules.losses.mmd import MMD
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.weighted_sum import WeightedSum


def test_what_is_logged() -> None:
    audio, image = tokens(3, 6, 16), tokens(3, 5, 16, seed=1)
    loss, measures = WeightedSum({"ot": OptimalTransport(), "means": Contrastive()}, {"ot": 2.0, "means": 0.1})(
        audio, image
    )
    plain, (_, own) = OptimalTransport()(audio, image)[0], Contrastive()(audio, image)
    torch.testing.assert_close(measures["ot/loss"], plain)
    torch.testing.assert_close(2 * measures["ot/loss"] + 0.1 * measures["means/loss"], loss)
    assert measures["means/contrastive_accuracy"] == own["contrastive_accuracy"]
    assert {"ot/relative_cost", "ot/solver_seconds"} <= set(measures)


def test_schedules_and_parameters_are_the_parts() -> None:
    attentive = AttentiveOptimalTransport(16, num_heads=4)
    both = WeightedSum({"attentive": attentive, "mmd": MMD()}, {"attentive": 1.0, "mmd": 1.0})
    both.set_epoch(2)
    assert attentive.epoch == 2
    assert len(list(both.parameters())) == len(list(attentive.parameters()))
    both.eval()
    assert not attentive.training


@pytest.mark.parametrize("weights", [{"mmd": 1.0}, {"ot": 1.0, "mmd": 2.0}, {}])
def test_weights_of_other_names_are_one_line(weights: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"expected one weight for each criterion, found the criteria \['ot'\]"):
        WeightedSum({"ot": OptimalTransport()}, weights)
