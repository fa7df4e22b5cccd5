"""Frozen networks attend by torch's fused kernels (SDPA), which give what plain softmax attention gives."""

import pytest
import torch
from conftest import MINIATURE
from torch import nn
from transformers import AutoModelForCausalLM, ClapAudioConfig, PreTrainedModel

from benchmarks.random_weights import configs, random_weights
from lightning_modules.networks.blip2 import Blip2Captioner
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.clap.htsat import Htsat
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.mean_hidden_state import MeanHiddenState


def kernels(network: nn.Module) -> set[str | None]:
    """How the models of transformers in a network attend."""
    return {part.config._attn_implementation for part in network.modules() if isinstance(part, PreTrainedModel)}


@pytest.fixture()
def llava() -> LlavaCaptioner:
    captioner = LlavaCaptioner(str(MINIATURE / "llava"), inputs="image")
    captioner.load()
    return captioner


def test_llava(llava: LlavaCaptioner) -> None:
    """Its vision tower and its language model, whose prompts and captions are padded at the end."""
    assert kernels(llava) == {"sdpa"}
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    found = []
    for kernel in ("sdpa", "eager"):
        for part in (llava.image_encoder.tower, llava.loaded.llava):  # type: ignore[union-attr]
            part.set_attn_implementation(kernel)
        assert kernels(llava) == {kernel}
        tokens = llava.image_encoder(images)  # type: ignore[misc]
        nll, _ = llava.loaded.nll(None, tokens, ["a dog barks", "rain falls while a bell rings"])
        found.append((tokens, nll))
    for ours, plain in zip(*found):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "clap"])
def test_language_models_and_texts(name: str) -> None:
    if name == "gpt2":
        network: nn.Module = MeanHiddenState.from_pretrained(MINIATURE / "gpt2")
        embed, part = network, network.model
        assert kernels(AutoModelForCausalLM.from_pretrained(MINIATURE / "gpt2")) == {"sdpa"}
    else:
        network = ClapEncoder.from_pretrained(MINIATURE / "clap")
        embed, part = network.embed_text, network.text_encoder  # type: ignore[assignment]
    assert kernels(network) == {"sdpa"}
    texts = ["a dog barks", "rain falls while a bell rings"]
    with torch.no_grad():
        ours = embed(texts)
        part.set_attn_implementation("eager")  # type: ignore[union-attr, operator]
        torch.testing.assert_close(ours, embed(texts), rtol=1e-4, atol=1e-4)


def test_at_full_size() -> None:
    """As the models on the hub are loaded, BLIP-2 among them; and CLAP's HTSAT, whose windows have no fused kernel."""
    with torch.device("meta"), random_weights(1):
        for name in ("gpt2-medium", "facebook/opt-1.3b"):
            assert kernels(AutoModelForCausalLM.from_pretrained(name)) == {"sdpa"}
        captioner = Blip2Captioner()
        captioner.load()
        assert kernels(captioner) == {"sdpa"}
        assert kernels(Htsat(ClapAudioConfig())) == {"eager"}
    assert configs(None)["gpt2-medium"].n_layer == 24
