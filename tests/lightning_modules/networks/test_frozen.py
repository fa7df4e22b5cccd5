"""What is frozen stays out of parameters, checkpoints and training mode, and still moves with its owner."""

import torch
from torch import nn

from lightning_modules.networks.frozen import Frozen


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
