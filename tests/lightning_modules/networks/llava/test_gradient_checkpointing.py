"""Layers that are computed again in backward: the same gradients from much less that is kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from conftest import MINIATURE
from torch import Tensor

from lightning_modules.audiovisual_distillation import AudiovisualDistillation
from lightning_modules.llava_prefix_tuning import LlavaPrefixTuning
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.captioner import LlavaCaptioner

CAPTIONS = ["a dog barks while rain falls", "a bell rings"]


@contextmanager
def kept_bytes() -> Iterator[dict[int, int]]:
    """Bytes by place of what autograd keeps for backward, weights among them."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def stage_of(kind: str, checkpointing: bool) -> LlavaPrefixTuning | AudiovisualDistillation:
    torch.manual_seed(0)
    encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae")
    captioner = LlavaCaptioner(str(MINIATURE / "llava"), encoder, gradient_checkpointing=checkpointing)
    stage = LlavaPrefixTuning(captioner) if kind == "prefix" else AudiovisualDistillation(captioner)
    stage.setup("fit")
    return stage


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", ["prefix", "distillation"])
def test_gradients_are_equal_and_less_is_kept(kind: str, precision: str) -> None:
    torch.manual_seed(1)
    tokens = torch.randn(2, 128, 96)
    gradients, sizes = [], []
    for checkpointing in (False, True):
        stage = stage_of(kind, checkpointing)
        model = stage.captioner.network.loaded
        given = (None, tokens) if kind == "prefix" else (tokens, None)
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"), kept_bytes() as kept:
            nll, _ = model.nll(*given, CAPTIONS)
        nll.sum().backward()
        sizes.append(sum(size for place, size in kept.items() if place not in weights))
        gradients.append([p.grad for p in stage.parameters() if p.requires_grad])
    assert all(g is not None and g.any() for g in gradients[0])
    assert all(torch.equal(plain, again) for plain, again in zip(*gradients, strict=True))
    assert sizes[1] < sizes[0] / 3


def test_captions_are_the_same() -> None:
    tokens = torch.randn(2, 128, 96)
    plain, other = (
        stage_of("distillation", on).captioner.network.loaded.generate(tokens, None) for on in (False, True)
    )
    assert plain == other and all(plain)
