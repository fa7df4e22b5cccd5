"""The door to a LLaVA checkpoint, for the vision tower and for the language model alike."""

from pathlib import Path

from transformers import LlavaConfig

from earshot.errors import InputError


def llava_config(llava: str | Path) -> LlavaConfig:
    """The configuration of a LLaVA checkpoint.

    Args:
        llava: a folder, or the hub id of a `LlavaForConditionalGeneration`.

    Raises:
        InputError: nothing there, not reachable, or not a LLaVA.
    """
    path = Path(llava)
    try:
        if not path.is_dir() and path.parent.is_dir():  # a hub id's owner is no folder here
            raise OSError("no such folder")
        config = LlavaConfig.from_pretrained(llava)
    except (OSError, ValueError) as error:
        here = path.parent.is_dir()
        reason = str(error).splitlines()[0] if here else "no such folder, and no such model that the hub gives"
        raise InputError(
            f"expected a LLaVA checkpoint (folder or hub id) at {str(llava)!r}, found none: {reason}; check model.llava"
        ) from error
    if not isinstance(config.vision_feature_layer, int):
        raise InputError(
            f"expected one vision_feature_layer in {str(llava)!r}, found {config.vision_feature_layer}; use LLaVA-1.5"
        )
    return config
