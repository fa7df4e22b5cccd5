"""Eq. 1 against the sum over tokens, one forward for each, and decoding with and without a cache."""

from pathlib import Path

import pytest
import torch

from earshot.errors import InputError
from lightning_modules.networks.prefix_decoder import PrefixDecoder

BOS, EOS, PAD = 2, 3, 0


def decoder(**more: int) -> PrefixDecoder:
    return PrefixDecoder(8, 20, BOS, EOS, PAD, width=16, depth=2, num_heads=2, max_tokens=12, **more).eval()


@pytest.mark.parametrize("prefix_length", [1, 3])
def test_loss_is_the_mean_over_tokens_each_from_those_before(prefix_length: int) -> None:
    network = decoder(prefix_length=prefix_length)
    embeddings = torch.randn(2, 8)
    captions = [[BOS, 7, 8, 9, EOS], [BOS, 11, EOS]]
    tokens = torch.tensor([captions[0], [*captions[1], PAD, PAD]])
    words = network.language_model.transformer.wte
    nats = []
    with torch.no_grad():
        for embedding, caption in zip(embeddings, captions):
            prefix = network.mapping(embedding).view(1, prefix_length, 16)
            for i, token in enumerate(caption):
                inputs = torch.cat((prefix, words(torch.tensor([caption[:i]], dtype=torch.long))), 1)
                logits = network.language_model(inputs_embeds=inputs).logits[0, -1]
                nats.append(-logits.log_softmax(-1)[token])
        found = network(embeddings, tokens)
    torch.testing.assert_close(found, torch.stack(nats).mean())


def test_a_prompt_is_read_before_the_caption_and_not_learnt() -> None:
    """Each token follows the prefix, the prompt with its padding, and the caption so far; no loss is on the prompt."""
    network = decoder(prefix_length=2, prompt_tokens=3).double()
    embeddings = torch.randn(2, 8, dtype=torch.float64)
    prompts = torch.tensor([[12, 13, 14], [15, PAD, PAD]])
    captions = [[BOS, 7, 8, 9, EOS], [BOS, 11, EOS]]
    words = network.language_model.transformer.wte
    nats = []
    with torch.no_grad():
        for embedding, prompt, caption in zip(embeddings, prompts, captions):
            prefix = network.mapping(embedding).view(1, 2, 16)
            for i, token in enumerate(caption):
                inputs = torch.cat((prefix, words(prompt[None]), words(torch.tensor([caption[:i]]).long())), 1)
                nats.append(-network.language_model(inputs_embeds=inputs).logits[0, -1].log_softmax(-1)[token])
        found = network(embeddings, torch.tensor([captions[0], [*captions[1], PAD, PAD]]), prompts)
    torch.testing.assert_close(found.double(), torch.stack(nats).mean(), atol=1e-6, rtol=0)


def test_captions_after_a_prompt_do_not_depend_on_the_batch() -> None:
    network = decoder(prompt_tokens=3)
    with torch.no_grad():
        network.language_model.transformer.wte.weight.mul_(20)
    embeddings, prompts = torch.randn(6, 8), torch.randint(4, 20, (6, 3))
    together = network.generate(embeddings, 5, prompts)
    assert not torch.equal(together, network.generate(embeddings, 5, prompts.flip(0)))
    best, _ = network.candidates(embeddings, 2, 5, prompts)
    for row in range(6):
        one = slice(row, row + 1)
        assert network.generate(embeddings[one], 5, prompts[one])[0].tolist() == together[row].tolist()
        alone, _ = network.candidates(embeddings[one], 2, 5, prompts[one])
        assert alone.tolist() == best[2 * row : 2 * row + 2, : alone.shape[1]].tolist()


def test_greedy_with_a_kv_cache_is_greedy_by_hand() -> None:
    network = decoder()
    with torch.no_grad():
        network.language_model.transformer.wte.weight.mul_(20)  # so that captions differ and some end
        network.mapping[0].weight.mul_(20)
    embeddings = torch.randn(16, 8)
    cached = network.generate(embeddings)
    assert len({tuple(row) for row in cached.tolist()}) > 4
    with torch.no_grad():
        for embedding, row in zip(embeddings, cached.tolist()):
            caption: list[int] = []
            while len(caption) < 12 and EOS not in caption:
                words = network.language_model.transformer.wte(torch.tensor([caption], dtype=torch.long))
                inputs = torch.cat((network.prefix(embedding[None]), words), 1)
                caption.append(int(network.language_model(inputs_embeds=inputs).logits[0, -1].argmax()))
            assert row[: len(caption)] == caption and set(row[len(caption) :]) <= {PAD}


def test_paper_sizes() -> None:
    """A mapping of two layers, four layers and heads of a Transformer with a hidden state of 768 (4.2)."""
    network = PrefixDecoder(1024, 50, BOS, EOS, PAD)
    config = network.language_model.config
    assert (config.n_layer, config.n_head, config.n_embd) == (4, 4, 768)
    assert [type(layer).__name__ for layer in network.mapping] == ["Linear", "ReLU", "Linear"]
    assert network.prefix(torch.randn(2, 1024)).shape == (2, 1, 768)


def test_saved_and_loaded(tmp_path: Path) -> None:
    network = decoder()
    network.save_pretrained(tmp_path)
    again = PrefixDecoder.from_pretrained(tmp_path).eval()
    embeddings = torch.randn(3, 8)
    assert torch.equal(network.generate(embeddings), again.generate(embeddings))
    assert "WSAC's decoder" in (tmp_path / "README.md").read_text()


def test_the_authors_mapping_is_one_layer() -> None:
    network, embeddings = decoder(mapping_layers=1), torch.randn(4, 8)
    (layer,) = network.mapping
    torch.testing.assert_close(network.prefix(embeddings)[:, 0], embeddings @ layer.weight.T + layer.bias)
    assert [type(layer).__name__ for layer in decoder().mapping] == ["Linear", "ReLU", "Linear"]
    with pytest.raises(InputError, match="mapping_layers of 1 or 2, found 3"):
        decoder(mapping_layers=3)


def test_captions_that_are_longer_than_in_fit_are_refused() -> None:
    tokens = torch.full((1, 13), 7)
    with pytest.raises(InputError, match="at most 12 tokens, as in fit, found one of 13"):
        decoder()(torch.randn(1, 8), tokens)
    decoder()(torch.randn(1, 8), tokens[:, 1:])
