"""An optimizer with a schedule that is stepped every epoch."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from earshot.errors import InputError


def by_epoch(optimizer: Optimizer, schedule: Callable[[Optimizer], Any]) -> Any:
    """What a stage's `configure_optimizers` returns for them.

    Raises:
        InputError: the schedule waits for a metric. Lightning steps such a one after the epoch's checkpoint, so that a
            resumed run would be another one.
    """
    made = schedule(optimizer)
    if isinstance(made, ReduceLROnPlateau):
        raise InputError(
            "expected a learning rate that falls by epochs, found ReduceLROnPlateau, with which no run is resumed as "
            "it was; set model.lr_scheduler to another of torch.optim.lr_scheduler, such as StepLR"
        )
    return {"optimizer": optimizer, "lr_scheduler": made}
