"""What a decoder of embeddings was trained with: a file in its export, which another run must agree with."""

import json
from pathlib import Path
from typing import Any

from earshot.errors import InputError

NAME = "trained_with.json"


def write(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings into an export."""
    (folder / NAME).write_text(json.dumps(settings, indent=2) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """The settings of an export.

    Raises:
        InputError: there is no such folder, or it holds something else.
    """
    try:
        found: dict[str, Any] = json.loads((folder / NAME).read_text())
        return found
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a decoder of CLAP's embeddings in {folder}, found no {NAME} ({error}); train it anew, or name "
            "another folder with --export.source"
        ) from None


def require_agreement(found: dict[str, Any], wanted: dict[str, Any], of: str) -> None:
    """Refuse weights that were trained in another way than a run is set.

    Raises:
        InputError: a setting differs.
    """
    if differing := [name for name in wanted if found.get(name) != wanted[name]]:
        raise InputError(
            f"expected {of} trained with {'; '.join(f'{name} {wanted[name]}' for name in differing)}, found "
            f"{'; '.join(f'{name} {found.get(name)}' for name in differing)}; give this command the overlays and "
            "the CLAP of fit, or name another export or checkpoint"
        )


def of_checkpoint(checkpoint: dict[str, Any], stage: type) -> dict[str, Any]:
    """What a checkpoint of `stage` was trained with.

    Raises:
        InputError: it is of another stage.
    """
    if "trained_with" not in checkpoint:
        raise InputError(
            f"expected a checkpoint of {stage.__name__}, found that of another stage; name one in "
            "runs/<run_name>/fit-<n>/checkpoints/ of this stage"
        )
    found: dict[str, Any] = checkpoint["trained_with"]
    return found
