"""What every datamodule checks of its settings."""

import os
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from earshot.errors import InputError


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


def require_same(data: L.LightningDataModule, in_checkpoint: dict[str, Any]) -> None:
    """Refuse to resume a fit with other settings than it began with; other commands may change them.

    Raises:
        InputError: a setting in the datamodule's state differs.
    """
    settings = data.state_dict() if trainer_of(data).state.fn == TrainerFn.FITTING else {}
    for name, found in settings.items():
        if found != in_checkpoint.get(name):
            raise InputError(
                f"expected {name} {in_checkpoint.get(name)} as in the checkpoint, found {found}; resume with the "
                "settings that the run began with, or begin a new run"
            )
