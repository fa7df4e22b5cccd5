"""The projector that maps audio tokens to the language model after distillation (DALI, stage 2)."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from lightning_modules.networks.llava.authors_files import authors_projector, is_authors_file
from lightning_modules.networks.pretrained import pretrained

WEIGHTS = "model.safetensors"


def save_audio_projector(projector: nn.Module, config: LlavaConfig, folder: Path) -> None:
    """Write the two layers' weights and the LLaVA configuration that they belong to."""
    config.save_pretrained(folder)
    save_file({name: weight.contiguous() for name, weight in projector.state_dict().items()}, folder / WEIGHTS)


def load_audio_projector(folder: str | Path, config: LlavaConfig) -> LlavaMultiModalProjector:
    """Read what `save_audio_projector` wrote, or the `prefixMLP.bin` of DALI's authors.

    Raises:
        InputError: nothing there, or of another LLaVA.
    """
    projector = LlavaMultiModalProjector(config)
    if is_authors_file(folder):
        projector.load_state_dict(authors_projector(folder, projector.state_dict()))
        return projector
    with pretrained(folder, "an audio projector") as name:
        projector.load_state_dict(load_file(Path(name) / WEIGHTS))
    return projector
