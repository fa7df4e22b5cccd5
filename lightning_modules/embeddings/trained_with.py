"""What a decoder of embeddings was trained with: a file in its export, which another run must agree with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.errors import InputError

NAME = "trained_with.json"
KEY = "trained_with"  # in a checkpoint
LATER = ("renormalised",)  # not noted by earlier versions, whose exports and checkpoints are taken as they are


@dataclass(frozen=True)
class TrainedWith:
    """The settings of a training that its weights cannot be used without.

    Attributes:
        settings: by name, as JSON.
    """

    settings: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the settings into an export."""
        (folder / NAME).write_text(json.dumps(self.settings, indent=2) + "\n")

    def note(self, checkpoint: dict[str, Any]) -> None:
        """Keep the settings in a checkpoint."""
        checkpoint[KEY] = self.settings

    def require_export(self, folder: Path) -> None:
        """Refuse the export of a training that was set otherwise.

        Raises:
            InputError: a setting differs, there is no such folder, or it holds something else.
        """
        try:
            found = json.loads((folder / NAME).read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                f"expected a decoder of CLAP's embeddings in {folder}, found no {NAME} ({error}); train it anew, or "
                "name another folder with --export.source"
            ) from None
        self._require(found, f"a decoder in {folder}")

    def require_checkpoint(self, checkpoint: dict[str, Any], stage: type) -> None:
        """Refuse the checkpoint of a training that was set otherwise.

        Raises:
            InputError: a setting differs, or it is of another stage than `stage`.
        """
        if KEY not in checkpoint:
            raise InputError(
                f"expected a checkpoint of {stage.__name__}, found that of another stage; name one in "
                "runs/<run_name>/fit-<n>/checkpoints/ of this stage"
            )
        self._require(checkpoint[KEY], "a checkpoint")

    def _require(self, found: Any, of: str) -> None:
        wanted = self.settings
        if not isinstance(found, dict):
            raise InputError(
                f"expected {of} with the settings of its training by name, found a {type(found).__name__} in their "
                "place; train it anew, or name another export or checkpoint"
            )
        compared = [name for name in wanted if name in found or name not in LATER]
        if differing := [name for name in compared if found.get(name) != wanted[name]]:
            raise InputError(
                f"expected {of} trained with {'; '.join(f'{name} {wanted[name]}' for name in differing)}, found "
                f"{'; '.join(f'{name} {found.get(name)}' for name in differing)}; give this command the overlays and "
                "the CLAP of fit, or name another export or checkpoint"
            )
