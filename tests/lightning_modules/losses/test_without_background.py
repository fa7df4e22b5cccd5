"""Costs without backgrounds against closed forms; plain versions and two ranks are in test_criteria."""

import inspect

import pytest
import torch
import yaml
from conftest import REPOSITORY
from made_tokens import tokens

from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.losses.backgrounds import Background, ClipMean, ClipMedian, ModalityMean
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.partial_transport import PartialTransport
from lightning_modules.losses.without_background import WithoutBackground


@pytest.mark.parametrize("background", [ModalityMean(), ClipMean()])
def test_less_a_mean_plain_transport_is_what_it_was(background: Background) -> None:
    """|x - y|^2 comes apart into that of the means and that around them; the optimal plan knows no shift."""
    audio, image = tokens(3, 12, 8).requires_grad_(), 2 + tokens(3, 9, 8, seed=1)
    plain, _ = OptimalTransport()(audio, image)
    found, measures = WithoutBackground(OptimalTransport(), background)(audio, image)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(*(torch.autograd.grad(loss, audio)[0] for loss in (found, plain)))
    assert measures["background_distance"] > 10


def test_partial_transport_is_another() -> None:
    """Of tokens that differ by a shift alone, in each modality, none is dearer than another once it is taken away."""
    audio = tokens(2, 10, 8)
    shift = torch.full((8,), 3.0, dtype=torch.float64)
    partial = OptimalTransport(PartialTransport(0.5))
    assert partial(audio, audio + shift)[0] > 20
    found, measures = WithoutBackground(partial, weight=0.0)(audio, audio + shift)
    assert abs(found.item()) < 1e-9
    torch.testing.assert_close(measures["background_distance"].item(), 72.0)
    torch.testing.assert_close(WithoutBackground(partial, weight=0.5)(audio, audio + shift)[0].item(), 36.0)


def test_the_median_is_a_token_of_the_ground() -> None:
    """Where more than half of the tokens are the ground, whatever else is there."""
    clip = tokens(2, 9, 8)
    clip[:, ::2] = torch.arange(8.0).double()
    expected = torch.arange(8.0).double().expand(2, 1, 8)
    torch.testing.assert_close(ClipMedian()(clip), expected, rtol=0, atol=0)
    assert (ClipMean()(clip) - expected).abs().max() > 0.1


def test_the_schedule_and_the_parameters_are_the_inner_ones() -> None:
    inner = AttentiveOptimalTransport(16, num_heads=4)
    criterion = WithoutBackground(inner)
    criterion.set_epoch(3)
    assert inner.epoch == 3
    assert {id(one) for one in criterion.parameters()} == {id(one) for one in inner.parameters()}
    WithoutBackground(OptimalTransport()).set_epoch(3)  # which has none


def test_attention_reads_what_is_left() -> None:
    """Weights, and so the loss but for the backgrounds' distance, do not change with a modality's offset."""
    torch.manual_seed(0)
    inner = AttentiveOptimalTransport(16, num_heads=4, temperature=0.05, entropy_weights=(1.0,)).double()
    criterion = WithoutBackground(inner, weight=0.0)
    criterion.set_epoch(1)
    audio, image = tokens(3, 6, 16), tokens(3, 5, 16, seed=1)
    torch.testing.assert_close(criterion(audio, image)[0], criterion(audio + 2, image - 1)[0])
    assert abs(inner(audio, image)[0] - inner(audio + 2, image - 1)[0]) > 1


def test_full_size_has_the_papers_values() -> None:
    overlay = yaml.safe_load((REPOSITORY / "configs/paper/attentive_ot_without_background.yaml").read_text())
    arguments = overlay["model"]["init_args"]["criterion"]["init_args"]["criterion"]["init_args"]
    default = inspect.signature(AttentiveOptimalTransport).parameters
    assert {key: default[key].default for key in arguments} == arguments | {
        "entropy_weights": tuple(arguments["entropy_weights"])
    }
