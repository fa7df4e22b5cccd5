"""A learning rate that rises over the first steps and then falls to 0, set anew at every step."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from earshot.errors import InputError


def warmup_then(decay: Callable[[Optimizer, int, int], Any], optimizer: Optimizer, steps: float, warmup: float) -> Any:
    """What a stage's `configure_optimizers` returns for such a rate.

    Args:
        decay: of transformers: `get_cosine_schedule_with_warmup` (LLaVA's) or `get_linear_schedule_with_warmup` (that
            of DRCap's authors).
        optimizer: at its full rate.
        steps: of the whole training run.
        warmup: the share of the steps in which the rate rises.

    Raises:
        InputError: the training run has no last step.
    """
    if steps == math.inf:
        raise InputError(
            "expected a number of steps for the learning rate to end at, found training without an end; set "
            "trainer.max_steps or trainer.max_epochs"
        )
    schedule = decay(optimizer, int(warmup * int(steps)), int(steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
