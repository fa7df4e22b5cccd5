"""The learning rate of DRCap's authors: up over the first steps, then down in a line to 0."""

from typing import Any

from torch.optim import Optimizer
from transformers import get_linear_schedule_with_warmup


def warmup_linear(optimizer: Optimizer, steps: float, warmup: float) -> Any:
    """What a stage's `configure_optimizers` returns for a rate that is set anew at every step.

    Args:
        optimizer: at its full rate.
        steps: of the whole training run.
        warmup: the share of the steps in which the rate rises.
    """
    schedule = get_linear_schedule_with_warmup(optimizer, int(warmup * int(steps)), int(steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
