"""The table of memory: its counting against sizes that are known, its numbers of parameters against checkpoints'."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks import memory, networks
from benchmarks.live_memory import Live, Need, kept_bytes, peak
from lightning_modules.losses.optimal_transport import OptimalTransport


def test_the_peak_is_of_what_lives_at_once() -> None:
    with Live() as live:
        first = torch.zeros(1000)  # 4,000 bytes
        second = first[10:] + 1  # 3,960 more; the slice is none
        del first
        second += 1
        third = torch.zeros(500)  # 2,000, when the first is gone
        del second, third
    assert live.peak == 4000 + 3960 and live.now == 0


def test_weights_are_not_kept_and_a_need_is_linear() -> None:
    layer = nn.Linear(100, 50, bias=False)
    with kept_bytes(layer) as kept:
        layer(torch.zeros(8, 100))
    assert sum(kept.values()) == 8 * 100 * 4  # its input
    need = Need.of(lambda clips: 1000 + 3 * clips, 4, 8, missing=7)
    assert (need.constant, need.per_clip) == (1000, 3 + 7)


@pytest.mark.parametrize("again", [False, True])
def test_layers_that_are_not_there_are_counted(again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stack of 6 layers, from 1 and 2 of them, as of all 6; what is before them trains."""

    def stage_of(layers: int) -> Any:
        stack = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(layers + 1)))
        stack[1:].requires_grad_(False)
        for layer in stack[1:] if again else []:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        step = lambda clips: stack(torch.zeros(16 * clips, 64)).sum()  # noqa: E731
        return stack, stack, step, stack[1]

    monkeypatch.setattr(networks, "LAYERS", 6)
    found = memory.llava_need(stage_of)
    stage, _, step, first = stage_of(6)
    exact = Need.of(lambda clips: peak(stage, step, clips, first=first), 1, 2)
    assert found.per_clip == pytest.approx(exact.per_clip, rel=0.02)
    assert found.constant == pytest.approx(exact.constant, abs=100)


def test_parameters_are_those_of_the_checkpoints() -> None:
    """CAV-MAE's branch and the map to the image tokens; the prefix; the projector; LLaVA-1.5-7B without its tower."""
    with torch.device("meta"):
        aligning = memory.alignment(OptimalTransport())[0]
        tuning = memory.prefix_tuning(networks.LAYERS, False)[0]
        distilling = memory.distillation(networks.LAYERS, False)[0]
    trained = memory.parameters(aligning, None)[0]
    assert trained == 85_647_360 + 787_456
    projector = (1024 * 4096 + 4096) + (4096 * 4096 + 4096)
    llama = 6_738_415_616 + (32064 - 32000) * 4096 * 2  # LLaMA-7B, and rows
    tower = memory.parameters(aligning, aligning.captioner.network)[1]
    assert memory.parameters(tuning, tuning.captioner.network) == (65_536, llama + projector + tower)  # no CAV-MAE
    others = memory.parameters(distilling, distilling.captioner.network)
    assert others == (projector, llama + projector + trained)


def test_a_row_says_which_gpu() -> None:
    """16 clips of 1 GiB and 10 GiB of frozen weights: 26 GiB, with room 29.6."""
    need = Need(0.0, float(memory.GIB))
    row = memory.line("x", "llava_prefix_tuning", (0, 5 * memory.GIB), need)
    assert (row["at once"], row["total"], row["fits"]) == ("16", "26.0", "40 GB")
    assert row["most in 80 GB"] == str(int((80 - 1) / 1.1 - 10))
    assert memory.line("x", "llava_prefix_tuning", (0, 0), Need(0.0, 9 * memory.GIB))["fits"] == "none"
