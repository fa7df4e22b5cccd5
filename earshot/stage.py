"""From the name of an export or of a configuration to the stage that captions."""

from functools import reduce
from pathlib import Path
from textwrap import shorten
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import LightningModule
from safetensors import SafetensorError

from earshot.errors import InputError, command_that_makes
from earshot.paths import config_file
from earshot.settings import read_settings

STAGE = "stage.yaml"  # in an export: the stage that it belongs to, and whether this embeds audio


def merged(base: Any, overlay: Any) -> Any:
    """A configuration with another one on top, key by key; another class brings its own arguments."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    if overlay.get("class_path", base.get("class_path")) != base.get("class_path"):
        return overlay
    return base | {key: merged(base.get(key), value) for key, value in overlay.items()}


def parse_stage(models: list[dict[str, Any]], name: str) -> Any:
    """The stage that configurations describe, each on top of the ones before.

    Raises:
        InputError: they describe none.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningModule, "model", required=True)
    try:
        config = parser.parse_object({"model": reduce(merged, models)})
        return parser.instantiate(config).model
    except (ArgumentError, ValueError, KeyError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        reason = " ".join(str(error).split())[:300]
        raise cause or InputError(f"expected the stage of {name}, found: {reason}; correct it") from error


def load_export(stage: Any, folder: Path) -> None:
    """Have a stage take its weights from an export.

    Raises:
        InputError: the folder holds another stage's, or files that are damaged.
    """
    try:
        stage.load_export(folder)
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = shorten(str(error), 300)
        raise InputError(
            f"expected an export of {type(stage).__name__} in {folder}/, found another ({reason}); "
            f"run: {command_that_makes(folder)}, or name another as export.source"
        ) from error


def find_stage(name: str | Path) -> tuple[Path, Path | None]:
    """The YAML of a captioner's stage, and the folder of its export where there is one.

    Raises:
        InputError: no such export or configuration.
    """
    for folder in (Path(name), Path("exports") / name):
        if (folder / STAGE).is_file():
            return folder / STAGE, folder
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"expected an export with a {STAGE} in {folder}, found none; train it anew, as exports of "
                "earlier versions have none, or name a captioner"
            )
    path = config_file(str(name))
    if not path.is_file():
        there = [folder.parent.name for folder in sorted(Path("exports").glob(f"*/{STAGE}"))]
        known = f"name one of {', '.join([*there, 'keywords', 'mils'])}"
        raise InputError(
            f"expected an export or a configuration, found no {name}; {known}, or make the export: "
            f"{command_that_makes(str(name))}"
        )
    settings = read_settings(path)
    export = settings.get("export", {}).get("source") or f"exports/{settings.get('run_name', path.stem)}"
    return (path, Path(export)) if (Path(export) / STAGE).is_file() else (path, None)


def all_captioners() -> list[str]:
    """The exports that caption audio, the newest first, and the configurations that need no training, or had it."""
    found = []
    for path in sorted(Path("exports").glob(f"*/{STAGE}"), key=lambda path: path.stat().st_mtime, reverse=True):
        if read_settings(path).get("hears"):  # not LLaVA's prefix
            found.append(str(path.parent))
    return [*found, "keywords", *(["guided"] if Path("exports/audibility").is_dir() else [])]


def default_captioner() -> str:
    """The newest export that captions audio, or else `keywords`, which needs no training."""
    return all_captioners()[0]
