"""Random changes of the rows of a step: the same however the step is divided, and others in another step."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks.step_draws import Part, changed, part_of_step


def noisy(rows: Tensor) -> Tensor:
    return nn.functional.dropout(rows + torch.randn_like(rows))


def test_a_row_is_changed_alike_however_the_step_is_divided() -> None:
    rows = torch.arange(6.0)[:, None].expand(6, 50)
    before = torch.get_rng_state()
    whole = changed(noisy, rows, Part(3, 7, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    parts = [changed(noisy, rows[2 * number : 2 * number + 2], Part(3, 7, number, 3)) for number in (2, 0, 1)]
    assert torch.equal(torch.cat([parts[1], parts[2], parts[0]]), whole)
    assert len({tuple(row) for row in (whole - rows).tolist()}) == 6
    for other in (Part(3, 8, 0, 1), Part(4, 7, 0, 1)):
        assert not torch.equal(changed(noisy, rows, other), whole)


def test_where_a_batch_stands_in_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices, three batches of each a step: the first batches of both devices, the second ones, the third."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    trainer = SimpleNamespace(accumulate_grad_batches=3, world_size=2, global_rank=1, global_step=5)
    assert [part_of_step(trainer, batch_idx) for batch_idx in (15, 16, 17)] == [Part(3, 5, n, 6) for n in (1, 3, 5)]
    assert part_of_step(None, 0) is None
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert part_of_step(trainer, 0) is None


def test_without_a_part_the_rows_are_changed_alone() -> None:
    torch.manual_seed(0)
    expected = noisy(torch.ones(2, 9))
    torch.manual_seed(0)
    assert torch.equal(changed(noisy, torch.ones(2, 9), None), expected)


def test_gradients_pass() -> None:
    rows = torch.ones(2, 5, requires_grad=True)
    changed(noisy, rows, Part(0, 0, 1, 2)).sum().backward()
    assert rows.grad is not None and set(rows.grad.flatten().tolist()) == {0.0, 2.0}
