"""What a result was made by: the command, the versions and the commit."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from earshot import __version__

PROJECT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "lightning", "aac-metrics")


def provenance(command: Sequence[str] = ()) -> dict[str, str]:
    """The command, by default that of this process, the versions, and the commit where the project is a checkout."""
    git = ["git", f"--git-dir={PROJECT / '.git'}", f"--work-tree={PROJECT}", "describe", "--exclude=*", "--always"]
    try:
        described = subprocess.run([*git, "--abbrev=12", "--dirty= with uncommitted changes"], capture_output=True)
        commit = described.stdout.decode().strip()  # nothing where it fails
    except OSError:  # no git
        commit = ""
    return {
        "command": shlex.join(command or [*program(Path(sys.argv[0])), *sys.argv[1:]]),
        "Python": platform.python_version(),
        **{package: found for package in PACKAGES if (found := installed(package))},
        "earshot": __version__,
        **({"commit": commit} if commit else {}),
    }


def installed(package: str) -> str | None:
    """The version of a package; None where it is not there, as aac-metrics without its extra."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def program(path: Path) -> list[str]:
    """How the running program is called: `earshot`, `python train.py` or `python -m earshot`."""
    if path.name == "__main__.py":
        return ["python", "-m", path.parent.name]
    return ["python", path.name] if path.suffix == ".py" else [path.name]
