"""A decoder as the code of WSAC's authors saves it, at full size, against a GPT-2 of theirs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from earshot.errors import InputError
from lightning_modules.networks.prefix_decoder import PrefixDecoder


class Theirs(nn.Module):
    """GPT-2 with BERT's ids in a table of 50,257 rows, and one layer from CLAP's embedding to its first input."""

    def __init__(self, width: int = 768, rows: int = 50257, name: str = "clap_project") -> None:
        super().__init__()
        config = GPT2Config(vocab_size=rows, n_positions=1024, n_embd=width, n_layer=4, n_head=4)
        self.decoder = GPT2LMHeadModel(config)
        layer = nn.Module()
        layer.model = nn.Sequential(nn.Linear(1024, width))
        setattr(self, name, layer)


def ours(**settings: int) -> PrefixDecoder:
    return PrefixDecoder(1024, 30522, 101, 102, 0, **{"mapping_layers": 1, **settings}).eval()


def old_masks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What transformers of their time kept in every block."""
    more = {f"decoder.transformer.h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(4)}
    return state | more | {f"decoder.transformer.h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(4)}


def test_full_size_loads_and_predicts_as_theirs(tmp_path: Path) -> None:
    theirs = Theirs().eval()
    torch.save(old_masks(theirs.state_dict()), tmp_path / "epoch-29.pt")
    decoder = ours()
    decoder.load_authors(tmp_path / "epoch-29.pt")
    embedding, words = torch.randn(2, 1024), torch.tensor([[101, 1037, 3899], [101, 4542, 102]])
    with torch.no_grad():
        first = theirs.clap_project.model(embedding)[:, None]
        inputs = torch.cat((first, theirs.decoder.transformer.wte(words)), 1)
        expected = theirs.decoder(inputs_embeds=inputs).logits[:, :, :30522]
        prefix = decoder.prefix(embedding)
        inputs = torch.cat((prefix, decoder.language_model.transformer.wte(words)), 1)
        found = decoder.language_model(inputs_embeds=inputs).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    small = {"width": 16, "rows": 30522}
    path = tmp_path / "small.pt"
    torch.save(Theirs(**small, name="clip_project").state_dict(), path)  # as their evaluation calls it
    decoder = ours(width=16)
    decoder.load_authors(path)
    with pytest.raises(InputError, match=r"mapping.0.weight \(16, 1024\) \(want \(32, 1024\)\)"):
        ours(width=32).load_authors(path)
    with pytest.raises(InputError, match="mapping.2.weight missing"):
        ours(width=16, mapping_layers=2).load_authors(path)
    state = Theirs(**small).state_dict()
    del state["decoder.transformer.ln_f.weight"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"language_model.transformer.ln_f.weight missing \(want \(16,\)\)"):
        decoder.load_authors(path)
    with pytest.raises(InputError, match="get it from their code, github.com/zelaki/wsac"):
        decoder.load_authors(tmp_path / "none.pt")
