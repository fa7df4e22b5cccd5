"""What every datamodule checks of its settings, and how a global batch is divided."""

import os
from typing import Any, Protocol

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from earshot.errors import InputError

GLOBAL_BATCH = "global_batch"  # in a datamodule's state


def seed_or_default(seed: int | None) -> int:
    """The seed, or that of seed_everything."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed


def require_at_least(least: int, **settings: int) -> None:
    """Refuse settings below `least`.

    Raises:
        InputError: one is.
    """
    for name, value in settings.items():
        if value < least:
            raise InputError(f"expected {name} of at least {least}, found {value}; correct it")


def trainer_of(data: L.LightningDataModule) -> L.Trainer:
    """The trainer that the datamodule works for."""
    assert data.trainer is not None, f"{type(data).__name__} works inside a Trainer"
    return data.trainer


class GlobalBatches(Protocol):
    """A datamodule with batches over all devices.

    Attributes:
        batch_size: clips, captions or sentences of a batch on each device.
        global_batch_size: the same of an optimizer step, over all devices; None is `batch_size` on each of them.
        trainer: that it works for.
    """

    batch_size: int
    global_batch_size: int | None
    trainer: L.Trainer | None

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of the batches."""


def divide_global_batch(data: GlobalBatches) -> None:
    """Set the batch of a device, and how many of them the trainer accumulates, to make up a global batch.

    Each device has an equal share of a step. A share of at most `batch_size` is one batch, a larger one several. The
    trainer's val_check_interval, where it is a whole number, then counts optimizer steps; Lightning's counts batches.

    Raises:
        InputError: the devices or the batches do not divide it, or the trainer is set to accumulate otherwise.
    """
    if (total := data.global_batch_size) is None:
        return
    assert data.trainer is not None
    devices, accumulated = data.trainer.world_size, data.trainer.accumulate_grad_batches
    share, left = divmod(total, devices)
    if left or share < 1:
        raise InputError(
            f"expected data.global_batch_size in equal shares for {devices} devices, found {total}; change it, or "
            "trainer.devices"
        )
    size = min(data.batch_size, share)
    if share % size:
        fitting = max(number for number in range(1, size) if share % number == 0)
        raise InputError(
            f"expected data.batch_size to divide {share}, the share of each of {devices} devices in a global batch of "
            f"{total}, found {size}; take {fitting}, or another global_batch_size"
        )
    if accumulated not in (1, share // size):
        raise InputError(
            f"expected trainer.accumulate_grad_batches {share // size}, as data.global_batch_size {total} gives, found "
            f"{accumulated}; leave one of them out"
        )
    if accumulated != share // size and isinstance(data.trainer.val_check_interval, int):
        data.trainer.val_check_interval *= share // size
    data.batch_size, data.trainer.accumulate_grad_batches = size, share // size
    rank_zero_info(f"global batch of {total}: {devices} devices x {size} x {share // size} accumulated")


def global_batch(data: GlobalBatches) -> int:
    """What an optimizer step takes, over all devices."""
    assert data.trainer is not None
    return data.batch_size * data.trainer.world_size * data.trainer.accumulate_grad_batches


def go_on_with(data: GlobalBatches, in_checkpoint: dict[str, Any]) -> None:
    """Hold the global batch that a fit began with, and refuse other settings; other commands may change them.

    Raises:
        InputError: a setting in the datamodule's state differs, or the devices do not divide the global batch.
    """
    assert data.trainer is not None
    if data.trainer.state.fn != TrainerFn.FITTING:
        return
    if data.global_batch_size is None and (held := in_checkpoint.get(GLOBAL_BATCH)) not in (None, global_batch(data)):
        data.global_batch_size = held
        divide_global_batch(data)
    for name, found in data.state_dict().items():
        if found != in_checkpoint.get(name):
            raise InputError(
                f"expected {name} {in_checkpoint.get(name)} as in the checkpoint, found {found}; resume with the "
                "settings that the run began with, or begin a new run"
            )
