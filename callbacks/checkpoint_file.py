"""Reads the checkpoints that `fit` wrote; anything else, or a damaged one, is told in one line."""

from pathlib import Path
from typing import Any

import torch

from earshot.errors import InputError

HOLDS = {"pytorch-lightning_version": str, "epoch": int, "global_step": int, "loops": dict, "state_dict": dict}


def read_checkpoint_file(path: Path, weights: bool = True) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU; only data are unpickled.

    Args:
        path: of the file.
        weights: False leaves them on the disk, and does not look at them.

    Raises:
        InputError: no checkpoint of `fit`, a part of one, or one whose weights are not finite.
    """
    todo = "give another, such as `best`, or begin a new run"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=not weights)
        wrong = [name for name, kind in HOLDS.items() if not isinstance(found[name], kind)]
    except Exception as error:  # a file of any other kind may raise anything
        raise InputError(
            f"expected a checkpoint that `fit` wrote, found another file: {path} ({type(error).__name__}); {todo}"
        ) from error
    if wrong:
        raise InputError(f"expected a checkpoint that `fit` wrote in {path}, found another {wrong[0]}; {todo}")
    for name, value in found["state_dict"].items() if weights else ():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"expected finite weights in {path}, found others in {name}; {todo}")
    checkpoint: dict[str, Any] = found
    return checkpoint
