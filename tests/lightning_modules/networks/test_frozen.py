"""What is frozen stays out of parameters, checkpoints and training mode, and still moves with its owner."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from lightning_modules.networks.frozen import Frozen, frozen_dtype


class Owner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Linear(2, 2)
        self.used = Frozen(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))


def test_owner_holds_only_what_trains() -> None:
    owner = Owner()
    assert [name for name, _ in owner.named_parameters()] == ["trained.weight", "trained.bias"]
    assert set(owner.state_dict()) == {"trained.weight", "trained.bias"}
    owner.load_state_dict(owner.state_dict(), strict=True)


def test_stays_in_evaluation_mode_without_gradient() -> None:
    owner = Owner().train()
    assert not owner.used.network.training
    x = torch.ones(1, 2)
    assert torch.equal(owner.used.network(x), owner.used.network(x))  # dropout would differ
    assert not owner.used.network(x).requires_grad


def test_follows_its_owner() -> None:
    owner = Owner().double()
    assert owner.used.network[0].weight.dtype == torch.float64
    owner.to("meta")
    assert owner.used.network[0].weight.device.type == "meta"


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("16-true", torch.float16),
        ("bf16-mixed", torch.bfloat16),
        ("16-mixed", torch.bfloat16),  # on a CPU, for which Lightning takes bf16-mixed
        ("bf16-true", torch.bfloat16),
        ("64-true", torch.float64),
    ],
)
def test_the_trainers_precision(precision: str, dtype: torch.dtype) -> None:
    trainer = Trainer(precision=precision, accelerator="cpu", logger=False, enable_checkpointing=False)
    assert frozen_dtype(trainer) == dtype


def test_float16_on_a_gpu() -> None:
    assert frozen_dtype(SimpleNamespace(precision="16-mixed")) == torch.float16


def test_without_a_trainer_a_file_decides() -> None:
    assert frozen_dtype(None) is None
