"""BLIP-2, which says in a few words what is seen in an image (Li et al., ICML 2023)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, Blip2Config, Blip2ForConditionalGeneration

from earshot.errors import InputError
from lightning_modules.networks.digests import files_digest
from lightning_modules.networks.pretrained import pretrained


class Blip2Captioner(nn.Module):
    """Captions images by beam search without a prompt, with the settings of LAVIS, its authors' code.

    The constructor loads no weights; `load` does. Normalisation runs on the device.

    Args:
        blip2: folder or hub id of a `Blip2ForConditionalGeneration`.
        max_new_tokens: longest caption.
        num_beams: 1 is no beam search.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, blip2: str | Path = "Salesforce/blip2-opt-2.7b", max_new_tokens: int = 30, num_beams: int = 5
    ) -> None:
        super().__init__()
        self.blip2 = str(blip2)
        self.max_new_tokens = max_new_tokens
        self.num_beams = num_beams
        self.model: Any = None
        self.tokenizer: Any = None

    @property
    def image_size(self) -> int:
        """Height and width in pixels that its vision tower takes.

        Raises:
            InputError: nothing there, or another model.
        """
        with pretrained(self.blip2, "a BLIP-2 checkpoint") as name:
            config = AutoConfig.from_pretrained(name)
        if not isinstance(config, Blip2Config):
            raise InputError(f"expected a BLIP-2 checkpoint in {self.blip2}, found {config.model_type}; name another")
        return config.vision_config.image_size

    def load(self, dtype: torch.dtype | None = None) -> None:
        """Load the model, in the dtype of its file unless given, its tokenizer, mean and deviation of its pixels.

        Raises:
            InputError: nothing there, or another model.
        """
        if self.model is None:
            with pretrained(self.blip2, "a BLIP-2 checkpoint") as name:
                model = Blip2ForConditionalGeneration.from_pretrained(name, dtype=dtype or "auto")
                self.tokenizer = AutoTokenizer.from_pretrained(name)
                pixels = AutoImageProcessor.from_pretrained(name)
            self.model = model.eval().requires_grad_(False)
            for part in ("mean", "std"):
                values = torch.tensor(getattr(pixels, f"image_{part}")).view(1, 3, 1, 1)
                self.register_buffer(part, values, persistent=False)

    @torch.inference_mode()
    def caption_images(self, images: Tensor) -> list[str]:
        """Images (I, 3, H, W) uint8 at `image_size` to I captions."""
        pixels = (images.float() / 255 - self.mean) / self.std
        ids = self.model.generate(
            pixels.to(self.model.dtype), max_new_tokens=self.max_new_tokens, num_beams=self.num_beams, do_sample=False
        )
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def made_by(self) -> dict[str, Any]:
        """Everything that decides a caption, as JSON; of a model on the hub the name."""
        settings = {"max_new_tokens": self.max_new_tokens, "num_beams": self.num_beams}
        return {"blip2": [self.blip2, files_digest(self.blip2)], **settings}
