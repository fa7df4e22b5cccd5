"""BLIP-2 with few random weights against transformers' own processor and generation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MINIATURE
from made_blip2 import SIZE, write_blip2
from PIL import Image
from transformers import Blip2ForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from earshot.errors import InputError
from lightning_modules.networks.blip2 import Blip2Captioner


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the hub has them: BLIP-2 over OPT."""
    path = tmp_path_factory.mktemp("blip2")
    write_blip2(path)
    return path


def images(number: int) -> torch.Tensor:
    """Of one colour each."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (number, 3, 1, 1), dtype=torch.uint8, generator=generator).repeat(1, 1, SIZE, SIZE)


def test_captions_are_those_of_transformers(folder: Path) -> None:
    captioner = Blip2Captioner(folder, max_new_tokens=6, num_beams=3)
    assert captioner.image_size == SIZE
    captioner.load()
    pixels = images(6)
    found = captioner.caption_images(pixels)
    assert len(found) == 6 and len(set(found)) > 2
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer, processor = (
        PreTrainedTokenizerFast.from_pretrained(folder),
        BlipImageProcessorPil.from_pretrained(folder),
    )
    for image, caption in zip(pixels, found):
        inputs = processor(Image.fromarray(np.asarray(image.permute(1, 2, 0))), return_tensors="pt")
        ids = model.generate(inputs["pixel_values"], max_new_tokens=6, num_beams=3, do_sample=False)
        assert tokenizer.decode(ids[0], skip_special_tokens=True).strip() == caption


def test_it_is_frozen_and_follows_to_a_dtype(folder: Path) -> None:
    captioner = Blip2Captioner(folder, max_new_tokens=3)
    captioner.load()
    model = captioner.model
    captioner.load()
    assert captioner.model is model and not model.training
    assert not any(parameter.requires_grad for parameter in captioner.parameters())
    assert captioner.to(torch.float64).mean.dtype == torch.float64
    assert len(captioner.caption_images(images(2))) == 2


def test_the_settings_are_said_and_other_checkpoints_refused(folder: Path) -> None:
    made_by = [Blip2Captioner(folder, *settings).made_by() for settings in ((), (5,), (30, 2))]
    assert made_by[0] == Blip2Captioner(folder, 30, 5).made_by()
    assert len({str(one) for one in made_by}) == 3
    with pytest.raises(InputError, match="expected a BLIP-2 checkpoint in .*llava, found llava"):
        print(Blip2Captioner(MINIATURE / "llava").image_size)
    with pytest.raises(InputError, match="expected a BLIP-2 checkpoint in ./nowhere, found no such folder"):
        Blip2Captioner("./nowhere").load()
