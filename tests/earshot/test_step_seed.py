"""The seed of a step: what it draws, and what it leaves out."""

import traceback

import numpy as np
import pytest
import torch

from earshot.step_seed import seed_step


def test_it_draws_what_manual_seed_draws() -> None:
    seed = int(np.random.SeedSequence((42, 0, 7)).generate_state(1)[0])
    torch.manual_seed(seed)
    expected = torch.rand(5)
    seed_step(torch.device("cpu"), 42, 0, 7)
    assert torch.equal(torch.rand(5), expected)
    seed_step(torch.device("cpu"), 42, 0, 8)
    assert not torch.equal(torch.rand(5), expected)


def test_no_stack_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[None] = []
    monkeypatch.setattr(traceback, "format_stack", lambda: written.append(None) or [])
    torch.manual_seed(0)
    assert written, "torch.manual_seed has become cheap: seed_step may go"
    written.clear()
    seed_step(torch.device("cpu"), 0)
    assert not written


@pytest.mark.gpu
def test_the_gpu_is_seeded_too() -> None:
    torch.manual_seed(int(np.random.SeedSequence((1, 2)).generate_state(1)[0]))
    expected = torch.rand(5), torch.rand(5, device="cuda")
    seed_step(torch.device("cuda"), 1, 2)
    assert torch.equal(torch.rand(5), expected[0])
    assert torch.equal(torch.rand(5, device="cuda"), expected[1])
