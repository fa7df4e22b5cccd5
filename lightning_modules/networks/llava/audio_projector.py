"""The map of audio tokens to the language model, once it is another than that of the image tokens (DALI, stage 2)."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from earshot.errors import InputError, command_that_makes

WEIGHTS = "model.safetensors"


def save_audio_projector(projector: nn.Module, config: LlavaConfig, folder: Path) -> None:
    """Write the two layers' weights and the LLaVA configuration that they belong to."""
    config.save_pretrained(folder)
    save_file({name: weight.contiguous() for name, weight in projector.state_dict().items()}, folder / WEIGHTS)


def load_audio_projector(folder: str | Path, config: LlavaConfig) -> LlavaMultiModalProjector:
    """Read what `save_audio_projector` wrote.

    Raises:
        InputError: nothing there, or of another LLaVA.
    """
    projector = LlavaMultiModalProjector(config)
    try:
        projector.load_state_dict(load_file(Path(folder) / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"expected an audio projector in {str(folder)!r}, found {str(error).strip().splitlines()[0]}; make it: "
            f"{command_that_makes(folder)}, or set model.audio_projector to null"
        ) from error
    return projector
