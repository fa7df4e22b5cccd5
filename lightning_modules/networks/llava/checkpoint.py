"""The configuration of a LLaVA checkpoint, which the vision tower and the language model are both read from."""

from pathlib import Path

from transformers import LlavaConfig

from earshot.errors import InputError
from lightning_modules.networks.pretrained import pretrained


def llava_config(llava: str | Path) -> LlavaConfig:
    """The configuration of a LLaVA checkpoint.

    Args:
        llava: a folder, or the hub id of a `LlavaForConditionalGeneration`.

    Raises:
        InputError: nothing there, not reachable, or not a LLaVA.
    """
    with pretrained(llava, "a LLaVA checkpoint") as name:
        config = LlavaConfig.from_pretrained(name)
    if not isinstance(config.vision_feature_layer, int):
        raise InputError(
            f"expected one vision_feature_layer in {str(llava)!r}, found {config.vision_feature_layer}; use LLaVA-1.5"
        )
    return config
