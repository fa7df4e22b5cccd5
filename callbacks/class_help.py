"""Help on the arguments of the classes that a configuration names."""

import argparse
from inspect import ismethod
from pkgutil import resolve_name
from typing import TypeGuard

from jsonargparse import ArgumentParser, Namespace

LIBRARIES = ("torch.", "lightning.")  # have documentation of their own


def add_class_help(parser: argparse.ArgumentParser, key: str, value: object) -> None:
    """Add a group of arguments for the class that `value` names, and one for each class among its settings.

    Args:
        parser: shows the help and parses nothing.
        key: the argument that is set to the class, such as "model".
        value: what the configuration has for it; anything that names no class adds nothing.
    """
    if isinstance(value, list) and value:
        value = value[-1]  # the one whose settings `--key.name` changes
    if not names_a_class(value) or value.class_path.startswith(LIBRARIES):
        return
    settings: Namespace = value.get("init_args") or Namespace()
    made_by = resolve_name(value.class_path)  # a class, or a class method such as from_pretrained
    described = made_by.__self__ if ismethod(made_by) else made_by
    summary = " ".join((described.__doc__ or "").split("\n\n")[0].split())
    group = parser.add_argument_group(f"{key}, {value.class_path}", summary.replace("%", "%%"))
    arguments = ArgumentParser(add_help=False)
    add = arguments.add_class_arguments if isinstance(made_by, type) else arguments.add_function_arguments
    add(made_by, key)
    for action in arguments._actions:
        if action.option_strings == [f"--{action.dest}"] and action.default is not argparse.SUPPRESS:
            name = action.dest.removeprefix(f"{key}.")
            default = shown(settings.get(name, action.default))
            text = f"{action.help or ''} (default: {default})".strip().replace("%", "%%")
            group.add_argument(f"--{action.dest}", metavar=action.metavar or name.split(".")[-1].upper(), help=text)
    for name, inner in vars(settings).items():
        add_class_help(parser, f"{key}.{name}", inner)


def names_a_class(value: object) -> TypeGuard[Namespace]:
    """Whether a value of a configuration has a class_path."""
    return isinstance(value, Namespace) and "class_path" in value


def shown(value: object) -> str:
    """A value as in a YAML, without the settings of a class, and without the code of a function."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if names_a_class(value):
        return str(value.class_path)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "the class's own" if callable(value) else str(value)
