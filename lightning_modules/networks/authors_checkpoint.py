"""Reads the files in which the authors of a network published its weights.

How the names in such a file map to ours is written beside each network. `docs/full_size_files.md` has a row for each.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from earshot.errors import InputError


def read_checkpoint(path: str | Path, what: str, where: str) -> dict[str, Any]:
    """The dictionary in a file that `torch.save` wrote; only weights are unpickled.

    Args:
        path: of the file.
        what: the file is expected to hold, for the error.
        where: to get it, likewise.

    Raises:
        InputError: no such file, or another kind of file.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        if not isinstance(found, dict):
            raise TypeError(f"a {type(found).__name__}")
    except FileNotFoundError:
        raise InputError(f"expected {what}, found no file {str(path)!r}; get it from {where}") from None
    except Exception as error:  # unpickling any other file, such as a page saved in its place, may raise anything
        # before and after it stands torch's advice to trust the file
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].partition("\n")[0]
        raise InputError(
            f"expected {what} in {str(path)!r}, found something else ({shorten(reason, 200) or type(error).__name__}); "
            f"get it again from {where}"
        ) from error
    return found


def tensors_in(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict by name, without the `module.` that DataParallel puts before each name."""
    return {name.removeprefix("module."): value for name, value in state.items() if torch.is_tensor(value)}


def check_tensors(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor | None], path: str | Path, what: str
) -> None:
    """Require that `found` has exactly the names of `expected`, with the same shapes; None stands for any shape.

    Raises:
        InputError: a tensor is missing, left over, of another shape, or not finite.
    """
    problems = []
    for name, value in expected.items():
        wanted = "" if value is None else f" (want {tuple(value.shape)})"
        if name not in found:
            problems.append(f"{name} missing{wanted}")
        elif value is not None and found[name].shape != value.shape:
            problems.append(f"{name} {tuple(found[name].shape)}{wanted}")
    problems += [f"{name} left over" for name in sorted(found.keys() - expected.keys())]
    if problems:
        raise InputError(
            f"expected the tensors of {what} in {str(path)!r}, found {len(problems)} of {len(expected)} missing, left "
            f"over or of another shape: {shorten('; '.join(problems), 2000)}; use another checkpoint or other sizes"
        )
    for name, value in found.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(
                f"expected finite numbers in {what} in {str(path)!r}, found others in {name}; get the file again"
            )
