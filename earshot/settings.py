"""Reads the settings of a YAML, without the libraries that build a stage of them."""

from pathlib import Path
from typing import Any

import yaml

from earshot.errors import InputError


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a configuration.

    Raises:
        InputError: the file holds none.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no settings by name")
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"expected a configuration in {path}, found: {reason}; correct it") from None
    return found
