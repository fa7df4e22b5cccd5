"""A resumed fit has the settings that the run began with: the checkpoint would override some of others, in silence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from earshot.errors import InputError

STEP = ("precision", "gradient_clip_val", "gradient_clip_algorithm")  # what decides a step of the trainer's settings
# what a resumed run may change: the datamodule checks the first ones itself, the others change nothing that is learnt
FREE = {"batch_size", "global_batch_size", "num_workers", "test", "predict", "gradient_checkpointing"}


def require_same_settings(checkpoint: Path, settings: dict[str, Any]) -> None:
    """Compare with the config.yaml of the checkpoint's run, where it has one: stage, data, seed, what decides a step.

    A data root may be another one when the first is gone: data that has moved. Settings that only one of the two
    versions of the code has are passed over.

    Raises:
        InputError: one is another, such as the learning rate, which the state of the optimizer would override.
    """
    path = checkpoint.parent.parent / "config.yaml"
    began = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    if not began:
        return
    for part in ("seed_everything", "model", "data", *(f"trainer.{name}" for name in STEP)):
        for name, before, now in differences(part, setting(began, part), setting(settings, part)):
            raise InputError(
                f"expected {name} {before}, with which {path.parent}/ began, found {now}; resume with the settings "
                "of the run, or begin a new one without --ckpt_path"
            )


def setting(settings: dict[str, Any], name: str) -> Any:
    """That of a name, such as `trainer.precision`."""
    part, _, inner = name.partition(".")
    found = settings.get(part)
    return setting(found or {}, inner) if inner else found


def differences(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """The name of each setting that differs, with its two values."""
    key = name.rpartition(".")[2]
    if before == now or key in FREE or same_place(key, before, now):
        return
    if isinstance(before, dict) and isinstance(now, dict) and before.get("class_path") == now.get("class_path"):
        for inner in before.keys() & now.keys():
            yield from differences(f"{name}.{inner}", before[inner], now[inner])
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for at, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from differences(f"{name}.{at}", one, other)
    else:
        yield name, short(before), short(now)


def same_place(key: str, before: Any, now: Any) -> bool:
    """Whether two names are of one file or folder, or of a data root that has moved."""
    if not isinstance(before, str) or not isinstance(now, str):
        return False
    moved = key == "root" and not Path(before).exists()
    return moved or (Path(now).exists() and Path(before).resolve() == Path(now).resolve())


def short(value: Any) -> Any:
    """A class by its name, anything else as it is."""
    return value["class_path"] if isinstance(value, dict) and "class_path" in value else value
