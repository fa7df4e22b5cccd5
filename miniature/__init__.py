"""The miniature: a procedural audiovisual world that ships with the project and is read as any other corpus."""

from importlib import import_module

HOMES = {"Miniature": "miniature.clips", "ensure_split": "miniature.splits"}


def __getattr__(name: str) -> object:
    """Import what YAMLs and tests name only when it is asked for: Lightning takes seconds, which `--help` saves."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
