"""A learning rate that rises over the first steps and then falls to 0, set anew at every step."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


def warmup_then(decay: Callable[[Optimizer, int, int], Any], optimizer: Optimizer, steps: float, warmup: float) -> Any:
    """What a stage's `configure_optimizers` returns for such a rate.

    Args:
        decay: of transformers: `get_cosine_schedule_with_warmup` (LLaVA's) or `get_linear_schedule_with_warmup` (that
            of DRCap's authors).
        optimizer: at its full rate.
        steps: of the whole training run.
        warmup: the share of the steps in which the rate rises.
    """
    schedule = decay(optimizer, int(warmup * int(steps)), int(steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
