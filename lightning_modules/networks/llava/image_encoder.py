"""LLaVA's vision tower up to the layer that is used: images to the tokens that an audio encoder is aligned with."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from transformers import AutoImageProcessor, CLIPVisionModel

from earshot.errors import InputError
from lightning_modules.networks.llava.checkpoint import llava_config
from lightning_modules.networks.pretrained import pretrained


class VisionTower(CLIPVisionModel):
    """CLIP's tower read out of a LLaVA checkpoint, where every other weight is another part's."""

    _keys_to_ignore_on_load_unexpected = [r""]


class ImageEncoder(nn.Module):
    """Image tokens of LLaVA: the hidden state of one layer of its CLIP tower, without the class token.

    The layers after that one are not built. Normalisation runs on the device.

    Args:
        tower: a CLIP vision model whose last layer is the one that is used.
        image_mean: of the pixels in [0, 1], for each channel.
        image_std: likewise.
        keep_class_token: whether the class token stays in front of the others.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        tower: CLIPVisionModel,
        image_mean: list[float],
        image_std: list[float],
        keep_class_token: bool = False,
    ) -> None:
        super().__init__()
        self.tower = tower
        self.keep_class_token = keep_class_token
        self.image_size: int = tower.config.image_size
        self.register_buffer("mean", torch.tensor(image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(image_std).view(1, 3, 1, 1))

    @classmethod
    def from_pretrained(cls, llava: str | Path, dtype: torch.dtype | None = None) -> Self:
        """Read the vision tower out of a LLaVA checkpoint, and nothing else of it.

        Args:
            llava: folder or hub id of a `LlavaForConditionalGeneration`.
            dtype: of the weights; None takes the file's.

        Raises:
            InputError: when the checkpoint lacks weights of the tower.
        """
        config = llava_config(llava)
        vision, layer = config.vision_config, config.vision_feature_layer
        vision.num_hidden_layers = layer if layer >= 0 else vision.num_hidden_layers + 1 + layer
        with pretrained(llava, "a LLaVA checkpoint") as name:
            tower, info = VisionTower.from_pretrained(
                name,
                config=vision,
                dtype=dtype or "auto",
                key_mapping={r"^(model\.)?vision_tower\.(vision_model\.)?": ""},
                output_loading_info=True,
            )
            pixels = AutoImageProcessor.from_pretrained(name)
        missing = [key for key in info["missing_keys"] if "post_layernorm" not in key]
        if missing:
            raise InputError(f"expected a CLIP vision tower in {llava}, found no {missing[0]}; name a LLaVA checkpoint")
        return cls(tower, pixels.image_mean, pixels.image_std, config.vision_feature_select_strategy == "full")

    @staticmethod
    def image_size_of(llava: str | Path) -> int:
        """Height and width in pixels that the vision tower of a LLaVA checkpoint takes."""
        return llava_config(llava).vision_config.image_size

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 at `image_size` to image tokens (B, M, D)."""
        pixels = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        tokens = self.tower(pixels).last_hidden_state
        return tokens if self.keep_class_token else tokens[:, 1:]
