"""Files as the code of DALI's authors writes them, at full size and at the small LLaVA's."""

from pathlib import Path

import pytest
import torch
from conftest import MINIATURE
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from earshot.errors import InputError
from lightning_modules.networks.digests import files_digest
from lightning_modules.networks.llava.audio_projector import load_audio_projector
from lightning_modules.networks.llava.authors_files import authors_prefix
from lightning_modules.networks.llava.language_model import LlavaLanguageModel

LLAVA = MINIATURE / "llava"


def written(path: Path, *, tokens: int = 16, width: int = 4096, image_width: int = 1024, prefix: bool = True) -> Path:
    """`prefix.bin`, or without soft tokens `prefixMLP.bin`: parameters of the fork of LLaVA by their names."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {"model.audio_tower.prefix": torch.randn(tokens, width, generator=generator)}
    if not prefix:
        state = {
            "model.mm_projector.0.weight": torch.randn(width, image_width, generator=generator),
            "model.mm_projector.0.bias": torch.randn(width, generator=generator),
            "model.mm_projector.2.weight": torch.randn(width, width, generator=generator),
            "model.mm_projector.2.bias": torch.randn(width, generator=generator),
        }
    torch.save({name: value.bfloat16() for name, value in state.items()}, path)
    return path


def test_soft_tokens_stand_after_the_media(tmp_path: Path) -> None:
    path = written(tmp_path / "prefix.bin", width=128)
    model = LlavaLanguageModel.from_pretrained(LLAVA, path)
    audio = torch.randn(1, 5, 96)
    expected = torch.load(path)["model.audio_tower.prefix"].float()
    assert len(model.prefix_ids) == 16 and min(model.prefix_ids) == len(model.processor.tokenizer)
    with torch.no_grad():
        prompt = model(audio, None)[0]
    before = len(model.prompt_ids("What ?")[0])
    assert torch.equal(prompt[before + 5 : before + 21], expected)
    words = LlavaForConditionalGeneration.from_pretrained(LLAVA).get_input_embeddings().weight
    assert torch.equal(model.llava.get_input_embeddings().weight[: model.prefix_ids[0]], words[: model.prefix_ids[0]])


def test_the_projector_is_two_layers_with_gelu(tmp_path: Path) -> None:
    path = written(tmp_path / "prefixMLP.bin", width=128, image_width=96, prefix=False)
    projector = load_audio_projector(path, LlavaConfig.from_pretrained(LLAVA))
    state = {name: value.float() for name, value in torch.load(path).items()}
    tokens = torch.randn(3, 96)
    hidden = tokens @ state["model.mm_projector.0.weight"].T + state["model.mm_projector.0.bias"]
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    expected = hidden @ state["model.mm_projector.2.weight"].T + state["model.mm_projector.2.bias"]
    torch.testing.assert_close(projector(tokens), expected, rtol=1e-4, atol=1e-3)


def test_full_size_loads(tmp_path: Path) -> None:
    """Of LLaVA-1.5-7B: 65,536 numbers of soft tokens, 20,979,712 of the projector."""
    assert authors_prefix(written(tmp_path / "prefix.bin"), 4096).numel() == 65_536
    config = LlavaConfig(
        text_config={"hidden_size": 4096, "model_type": "llama"},
        vision_config={"hidden_size": 1024, "num_attention_heads": 16},
    )
    path = written(tmp_path / "prefixMLP.bin", prefix=False)
    assert sum(p.numel() for p in load_audio_projector(path, config).parameters()) == 20_979_712
    assert isinstance(load_audio_projector(path, config), LlavaMultiModalProjector)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    wide = written(tmp_path / "wide.bin", width=64)
    with pytest.raises(InputError, match=r"model.audio_tower.prefix \(16, 64\) \(want \(16, 128\)\)"):
        LlavaLanguageModel.from_pretrained(LLAVA, wide)
    many = written(tmp_path / "many.bin", width=128, tokens=23)
    with pytest.raises(InputError, match="expected at most 22 soft tokens, LLaVA's free rows, found 23"):
        LlavaLanguageModel.from_pretrained(LLAVA, many)
    projector = written(tmp_path / "prefixMLP.bin", width=128, image_width=96, prefix=False)
    with pytest.raises(InputError, match="model.audio_tower.prefix missing"):
        LlavaLanguageModel.from_pretrained(LLAVA, projector)
    with pytest.raises(InputError, match=r"model.mm_projector.0.weight missing"):
        LlavaLanguageModel.from_pretrained(LLAVA, audio_projector=wide)
    with pytest.raises(InputError, match="no file '.*none.bin'; get it from zenodo.org/records/14224316"):
        LlavaLanguageModel.from_pretrained(LLAVA, tmp_path / "none.bin")
    (tmp_path / "text.bin").write_text("no weights")
    with pytest.raises(InputError, match="found something else"):
        LlavaLanguageModel.from_pretrained(LLAVA, audio_projector=tmp_path / "text.bin")


def test_a_files_digest_is_of_its_bytes(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one.bin", width=8), written(tmp_path / "other.bin", width=16)
    assert files_digest(one) != files_digest(other) and files_digest(one) == files_digest(str(one))
    assert files_digest("owner/name") is None
