"""The one rule that tells a folder from an id on the Hugging Face Hub, and the error where there is no such model."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten

from safetensors import SafetensorError
from transformers import dynamic_module_utils

from earshot.errors import InputError, require_folder

dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # code that comes with a model is not run, and nobody is asked for it
HUB_IDS = r"[\w.-]+(/[\w.-]+)?"


@contextmanager
def pretrained(name: str | Path, what: str, hub_ids: str = HUB_IDS) -> Iterator[str]:
    """What to give to a `from_pretrained` inside the block, whose errors become one line.

    A folder that exists is used. `hf://owner/name` is a model on the hub. Another name is one too if it matches
    `hub_ids` and does not look like a path (`earshot.errors.require_folder`), so that a mistyped path never reaches
    the network.

    Args:
        name: a folder or a hub id.
        what: is expected there, for the error.
        hub_ids: a regular expression; a family whose models have few names on the hub gives a narrow one.

    Raises:
        InputError: no such folder, no such model on the hub, or a model of another kind.
    """
    text = str(name)
    if not text.startswith("hf://") and not Path(text).is_dir():
        require_folder(text, what)
        if not re.fullmatch(hub_ids, text):
            raise InputError(
                f"expected {what} in {text}, found no such folder; correct it, or write hf://owner/name for a model on "
                "the Hugging Face Hub"
            )
    try:
        yield text.removeprefix("hf://")
    except (
        OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError, UnpicklingError,
        EOFError,
    ) as error:  # fmt: skip
        reason = shorten(str(error), 1000)
        if "trust_remote_code" in reason:  # transformers' advice to trust it
            reason = "a model that needs code of its own, which is not run"
        raise InputError(f"expected {what} in {text!r}, found none ({reason}); check the folder or hub id") from error
