"""Eq. 3 to 5 on cases computed by hand, and the memory in chunks."""

import math

import pytest
import torch

from earshot.errors import InputError
from lightning_modules.strategies.caption_memory import CaptionMemory
from lightning_modules.strategies.nearest_neighbour import NearestNeighbour
from lightning_modules.strategies.projection import Projection

MEMORY = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.6, 0.8], [-1.0, 0.0]])


def with_memory(strategy: CaptionMemory, memory: torch.Tensor = MEMORY) -> CaptionMemory:
    strategy.remember(memory)
    return strategy


def test_nearest_by_hand() -> None:
    """Cosine, not dot product: (0, 2) is long and yet not the nearest of (3, 4)."""
    found = with_memory(NearestNeighbour())(torch.tensor([[3.0, 4.0], [0.1, 5.0], [-1.0, -0.2]]))
    assert found.tolist() == MEMORY[[2, 1, 3]].tolist()


def test_a_temperature_that_is_none() -> None:
    with pytest.raises(InputError, match="above 0, found 0"):
        Projection(temperature=0)


def test_projection_by_hand() -> None:
    """Similarities of (0, 1) with the memory: 0, 1, 0.8 and 0; at temperature 0.5 they weigh e^0, e^2, e^1.6, e^0."""
    weights = [1, math.exp(2), math.exp(1.6), 1]
    total = sum(weights)
    expected = [
        (weights[0] * 1 + weights[2] * 0.6 - weights[3]) / total,
        (weights[1] * 2 + weights[2] * 0.8) / total,
    ]
    found = with_memory(Projection(temperature=0.5))(torch.tensor([[0.0, 3.0]]))
    assert found[0].tolist() == pytest.approx(expected)
    norm = math.hypot(*expected)
    found = with_memory(Projection(temperature=0.5, renormalise=True))(torch.tensor([[0.0, 3.0]]))
    assert found[0].tolist() == pytest.approx([value / norm for value in expected])


@pytest.mark.parametrize("chunk_size", [1, 7, 1000, 1003])
@pytest.mark.parametrize("strategy", [NearestNeighbour, Projection])
def test_chunks_change_nothing(strategy: type, chunk_size: int) -> None:
    memory, audio = torch.randn(1003, 16), torch.randn(5, 16)
    whole = with_memory(strategy(), memory)(audio)
    torch.testing.assert_close(with_memory(strategy(chunk_size=chunk_size), memory)(audio), whole)


@pytest.mark.parametrize("size", [1, 3, 999, 1001])
def test_every_caption_is_found(size: int) -> None:
    """No tail is dropped and a small memory is one: each caption is the nearest of itself."""
    memory = torch.nn.functional.normalize(torch.randn(size, 16), dim=1)
    for chunk_size in (None, 1000):
        torch.testing.assert_close(with_memory(NearestNeighbour(chunk_size), memory)(memory), memory)


def test_one_product_for_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    product = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: (shapes.append((a.shape, b.shape)), product(a, b))[1])
    with_memory(NearestNeighbour(), torch.randn(50, 4))(torch.randn(8, 4))
    assert shapes == [((8, 4), (4, 50))]


@pytest.mark.parametrize("strategy", [NearestNeighbour, Projection])
def test_half_precision_around_it_changes_nothing(strategy: type) -> None:
    """A trainer's bf16-mixed would round cosines to 1/256, and captions of one sound are nearer than that."""
    centre = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    near = centre + 0.05 * torch.randn(300, 64, generator=torch.Generator().manual_seed(1))
    whole = with_memory(strategy(), near[:200])(near[200:])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(with_memory(strategy(), near[:200])(near[200:]), whole)
