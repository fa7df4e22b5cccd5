"""Random changes of the rows of a batch: the same whatever batch a row is in, and others in another step."""

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks.row_draws import by_row, row_seeds


def noisy(rows: Tensor) -> Tensor:
    return nn.functional.dropout(rows + torch.randn_like(rows))


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


def test_a_row_is_changed_alike_in_any_batch(seeded: None) -> None:
    rows, names = torch.ones(6, 50), list("abcdef")
    before = torch.get_rng_state()
    whole = by_row(noisy, rows, row_seeds(7, names))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    parts = [by_row(noisy, rows[at : at + 2], row_seeds(7, names[at : at + 2])) for at in (4, 0, 2)]
    assert torch.equal(torch.cat([parts[1], parts[2], parts[0]]), whole)
    assert len({tuple(row) for row in whole.tolist()}) == 6
    assert not torch.equal(by_row(noisy, rows, row_seeds(8, names)), whole)


def test_without_a_seed_all_rows_are_changed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert row_seeds(1, "ab") is None
    torch.manual_seed(0)
    expected = noisy(torch.ones(2, 9))
    torch.manual_seed(0)
    assert torch.equal(by_row(noisy, torch.ones(2, 9), None), expected)


def test_gradients_pass(seeded: None) -> None:
    rows = torch.ones(2, 5, requires_grad=True)
    by_row(noisy, rows, row_seeds(0, "ab")).sum().backward()
    assert rows.grad is not None and set(rows.grad.flatten().tolist()) == {0.0, 2.0}
