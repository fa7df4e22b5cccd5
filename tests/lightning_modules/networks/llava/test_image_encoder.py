"""The cut vision tower hands on what LLaVA's own would."""

import pytest
import torch
from conftest import MINIATURE
from transformers import AutoImageProcessor, LlavaForConditionalGeneration

from earshot.errors import InputError
from lightning_modules.networks.llava.image_encoder import ImageEncoder

LLAVA = MINIATURE / "llava"


def test_equals_llavas_hidden_state() -> None:
    pictures = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    llava = LlavaForConditionalGeneration.from_pretrained(LLAVA).eval()
    pixels = AutoImageProcessor.from_pretrained(LLAVA)(list(pictures), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = llava.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        tokens = ImageEncoder.from_pretrained(LLAVA).eval()(pictures)
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-4)


def test_layers_after_the_one_used_are_not_built() -> None:
    encoder = ImageEncoder.from_pretrained(LLAVA)
    assert encoder.tower.config.num_hidden_layers == 4  # of 5, hidden state -2
    assert encoder.image_size == ImageEncoder.image_size_of(LLAVA) == 64


def test_folder_without_a_tower_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="expected"):
        ImageEncoder.from_pretrained(tmp_path / "nothing")
