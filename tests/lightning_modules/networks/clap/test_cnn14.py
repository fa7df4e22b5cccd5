"""CNN14 by itself; `test_encoder.py` compares its numbers."""

import pytest
import torch
from torch import Tensor

from lightning_modules.networks.clap.cnn14 import Cnn14


def test_a_batch_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each number that Python asks for is."""
    network = Cnn14((8, 8, 8, 8, 8, 8)).eval()
    asked: list[Tensor] = []
    whole = Tensor.__int__
    features = network.features(torch.zeros(2, 40000, dtype=torch.int16), torch.tensor([40000, 33000]))
    monkeypatch.setattr(Tensor, "__int__", lambda self: asked.append(self) or whole(self))
    with torch.no_grad():
        network(*features)
    assert len(asked) == 1
