"""WSAC's learning rate: up over some epochs, then down in steps (4.2)."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from earshot.errors import InputError


class WarmupStep(LambdaLR):
    """The paper's schedule (4.2): linearly up over the first epochs, times `gamma` every `step_size` epochs.

    Args:
        warmup: epochs until the full rate.
        step_size: epochs between two decays.
        gamma: factor of a decay.

    Raises:
        InputError: `warmup` or `step_size` below 1, or `gamma` not above 0.
    """

    def __init__(self, optimizer: Optimizer, warmup: int = 5, step_size: int = 10, gamma: float = 0.2) -> None:
        if min(warmup, step_size) < 1 or gamma <= 0:
            raise InputError(
                f"expected warmup and step_size of at least 1 epoch and gamma above 0, found {warmup}, {step_size} and "
                f"{gamma}; correct model.lr_scheduler"
            )
        super().__init__(optimizer, lambda epoch: min(1.0, (epoch + 1) / warmup) * gamma ** (epoch // step_size))
