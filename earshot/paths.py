"""Where the files that come with the project are: in the working folder, a checkout, or the installed package."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """The project's own file or folder of that name, such as `configs/defaults.yaml`."""
    installed = PACKAGE / name  # a wheel has configs/ and assets/ inside the package
    return installed if os.path.exists(installed) else PACKAGE.parent / name


def resource(name: str) -> Path:
    """The file or folder of that name in the working folder, or else the project's own; `name` where there is none."""
    path = Path(name)
    return path if os.path.exists(path) or not os.path.exists(shipped(name)) else shipped(name)


def config_file(name: str) -> Path:
    """The YAML that `--config name` means: a path, or `dali_ot` and `criterion/mmd` for those in configs/."""
    for path in (Path(name), resource(name), resource(f"configs/{name}.yaml")):
        if os.path.isfile(path):  # unlike Path's, not an error of a name that no file can have
            return path
    return Path(name)


def located(value: Any, root: Path | None = None) -> Any:
    """A configuration with each path in assets/ or configs/ as `resource` finds it, and, given a `root`, those in
    exports/ that are not in the working folder as they are in that folder."""
    if isinstance(value, Namespace):
        for name, inner in vars(value).items():
            setattr(value, name, located(inner, root))
    elif isinstance(value, list | tuple):
        return type(value)(located(inner, root) for inner in value)
    elif isinstance(value, dict):
        return {name: located(inner, root) for name, inner in value.items()}
    elif isinstance(value, str | Path) and str(value).startswith(("assets/", "configs/")):
        return type(value)(resource(str(value)))
    elif root is not None and isinstance(value, str) and value.startswith("exports/") and not Path(value).exists():
        return str(root / value) if (root / value).exists() else value
    return value
