"""LLaVA without prefix or audio, as a captioner of images."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.image_encoder import ImageEncoder


class LlavaImageCaptioner(nn.Module):
    """Answers a question about images, by the likeliest token each time or by beam search.

    Args:
        llava: folder or hub id of LLaVA.
        question: the text of the prompt, after the image.
        max_new_tokens: longest caption.
        num_beams: 1 is no beam search.
    """

    def __init__(
        self,
        llava: str = "llava-hf/llava-1.5-7b-hf",
        question: str = "Describe the image in one short sentence.",
        max_new_tokens: int = 30,
        num_beams: int = 1,
    ) -> None:
        super().__init__()
        generation = Generation(max_new_tokens, num_beams)
        self.captioner = LlavaCaptioner(llava, inputs="image", question=question, generation=generation)

    @property
    def image_size(self) -> int:
        """Height and width in pixels that its vision tower takes."""
        return ImageEncoder.image_size_of(self.captioner.llava)

    def load(self, dtype: torch.dtype | None = None) -> None:
        """Load the vision tower and the language model."""
        self.captioner.load(dtype=dtype)

    def caption_images(self, images: Tensor) -> list[str]:
        """Images (I, 3, H, W) uint8 at `image_size` to I captions."""
        assert self.captioner.image_encoder is not None, "call load() first"
        tokens = self.captioner.image_encoder(images)  # (I, M, D)
        return self.captioner.loaded.generate(None, tokens, self.captioner.question, self.captioner.generation)

    def made_by(self) -> dict[str, Any]:
        """Everything that decides a caption, as JSON."""
        return self.captioner.made_by()
