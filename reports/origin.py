"""How a report was measured: command, seeds, versions and date, as its last section says."""

import json
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

HEADING = "## How this was measured"
PACKAGES = ("torch", "transformers", "lightning", "earshot")
SEEDS = "seeds (of the fit whose export was tested, else of the test)"


def origin(command: Sequence[str]) -> list[str]:
    """The command, the versions and the date."""
    return [
        f"command: `{shlex.join(command)}`",
        f"versions: {', '.join([f'Python {platform.python_version()}', *map(_version, PACKAGES), *_commit()])}",
        f"date: {date.today().isoformat()}",
    ]


def seeds(rows: Mapping[str, Sequence[Path]]) -> str:
    """The seeds of the training runs whose captions files are compared."""
    found = {name: ", ".join(map(_training_seed, paths)) for name, paths in rows.items()}
    if len(set(found.values())) == 1:
        return f"{SEEDS}, in every row: {next(iter(found.values()))}"
    return f"{SEEDS}: " + "; ".join(f"{name} {each}" for name, each in found.items())


def section_of(path: Path) -> list[str]:
    """The entries of the last section of another report; none where there is no such report."""
    if not path.is_file():
        return []
    section = path.read_text(encoding="utf-8").partition(HEADING)[2]
    return [line.removeprefix("- ") for line in section.splitlines() if line]


def _training_seed(captions: Path) -> str:
    """Of the run that trained what wrote the captions: where an export was tested, the run that wrote the export."""
    config = _config(captions.parent)
    export = config.get("export")
    if isinstance(export, dict) and export.get("load"):
        source = export.get("source") or f"{export.get('root')}/{config.get('run_name')}"
        provenance = Path(source) / "provenance.json"
        if provenance.is_file():
            config = _config(Path(json.loads(provenance.read_text(encoding="utf-8")).get("run_folder") or ""))
    return str(config.get("seed_everything", "unknown"))


def _config(run_folder: Path) -> dict[str, object]:
    path = run_folder / "config.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found if isinstance(found, dict) else {}


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"


def _commit() -> list[str]:
    """The commit of the project's checkout, where there is one."""
    project = Path(__file__).parents[1]
    if not (project / ".git").exists():
        return []
    git = ["git", "-C", str(project)]
    try:
        head, changes = (
            subprocess.run([*git, *what], capture_output=True, text=True, check=True).stdout.strip()
            for what in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return [f"commit {head}{' with uncommitted changes' if changes else ''}"]
