"""Numbers that each rank has a part of."""

import lightning as L
import torch


def sum_of_ranks(trainer: L.Trainer, number: float) -> float:
    """The sum over all ranks, which call this together. NCCL adds what is on a GPU alone, and not each has float64."""
    device = trainer.strategy.root_device
    own = torch.tensor(number, device=device, dtype=torch.float64 if device.type == "cpu" else torch.float32)
    return float(trainer.strategy.reduce(own, reduce_op="sum"))
