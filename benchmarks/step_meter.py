"""Measures steps of any stage: a callback of the trainer."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from lightning_modules.networks.frozen import Frozen

CPU_ATTENTION = {  # which torch does not count; called with the shapes of the arguments
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


@dataclass
class Measured:
    """Steps of a stage.

    Attributes:
        trained: parameters.
        frozen: parameters.
        precision: of the trainer.
        seconds: of each timed step.
        waits: seconds for each of their batches.
        flops: of one step, those of a second forward in backward included.
        peak: most bytes in use in the timed steps: of the GPU, else of the process.
    """

    trained: int
    frozen: int
    precision: str
    seconds: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    flops: int = 0
    peak: float = 0.0


class NoModules(AbstractContextManager[None]):
    """In place of torch's tracker of modules, whose hooks keep what gradient checkpointing drops."""

    parents = ("Global",)

    def __exit__(self, *_: Any) -> None:
        """Nothing to undo."""


def flop_counter() -> FlopCounterMode:
    """Counts as torch's, in the memory that a step takes without it."""
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    counter.mod_tracker = NoModules()
    return counter


class StepMeter(L.Callback):
    """Of the batches of a command the first warms up, the FLOPs of the second are counted, the others are timed."""

    found: ClassVar[list[Measured]] = []  # of each command in the process

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forget what a command before may have left."""
        self.batches = 0
        self.ended = time.perf_counter()
        self.counter: Any = None

    def begin(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Before a step."""
        if self.batches == 0:
            self.found.append(Measured(*parameters(pl_module), str(trainer.precision)))
        elif self.batches == 1:
            self.counter = flop_counter()
            self.counter.__enter__()
        elif self.batches == 2:
            reset_peak(pl_module.device)
        self.began = now(pl_module.device)
        if self.batches >= 2:
            self.found[-1].waits.append(self.began - self.ended)

    def end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """After a step, the optimizer's part of it included."""
        self.ended = now(pl_module.device)
        if self.batches == 1:
            self.counter.__exit__(None, None, None)
            self.found[-1].flops = self.counter.get_total_flops()
        elif self.batches >= 2:
            self.found[-1].seconds.append(self.ended - self.began)
            self.found[-1].peak = peak(pl_module.device)
        self.batches += 1
        self.ended = now(pl_module.device)  # what is measured here is no wait for a batch

    on_train_batch_start = on_test_batch_start = on_predict_batch_start = begin
    on_train_batch_end = on_test_batch_end = on_predict_batch_end = end


def parameters(stage: nn.Module) -> tuple[int, int]:
    """Numbers of trained and of frozen parameters."""
    trained = {id(p): p.numel() for p in stage.parameters() if p.requires_grad}
    networks = [part.network for part in stage.modules() if isinstance(part, Frozen)]
    held = {id(p): p.numel() for part in (stage, *networks) for p in part.parameters()}
    return sum(trained.values()), sum(number for key, number in held.items() if key not in trained)


def now(device: torch.device) -> float:
    """Seconds of a clock, once the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def reset_peak(device: torch.device) -> None:
    """Begin anew from what is in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (path := Path("/proc/self/clear_refs")).exists():
        path.write_text("5")


def peak(device: torch.device) -> float:
    """Most bytes in use since then: of the GPU, else of the process; not a number where the system does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    return float(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 if status.exists() else float("nan")


def peak_of(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of a large product of matrices: the best of several."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        began = now(device)
        a @ b
        seconds.append(now(device) - began)
    return 2 * size**3 / min(seconds)
