"""The mean hidden state against GPT-2 run on one text at a time, and what is refused."""

import copy

import pytest
import torch
from conftest import MINIATURE
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from earshot.errors import InputError
from lightning_modules.networks.mean_hidden_state import MeanHiddenState

TEXTS = ["a bell", "a red bell and a white dog on the grass", "", "drum", "a cow that is brown and a bird on the snow"]


@pytest.fixture(scope="module")
def network() -> MeanHiddenState:
    return MeanHiddenState.from_pretrained(MINIATURE / "gpt2").eval()


def test_it_is_the_mean_of_the_last_hidden_states_of_each_text_alone(network: MeanHiddenState) -> None:
    model = GPT2LMHeadModel.from_pretrained(MINIATURE / "gpt2").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MINIATURE / "gpt2")
    found = network(TEXTS)
    assert found.shape == (5, 128) and found.dtype == torch.float32
    for text, embedding in zip(TEXTS, found):
        ids = tokenizer(text)["input_ids"] or [tokenizer.eos_token_id]
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]  # (L, D)
        torch.testing.assert_close(embedding, sum(states) / len(states), atol=1e-5, rtol=1e-4)


def test_neither_padding_nor_its_side_nor_company_changes_a_text(network: MeanHiddenState) -> None:
    alone = torch.cat([network([text]) for text in TEXTS])
    torch.testing.assert_close(network(TEXTS), alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network(TEXTS[::-1]), alone.flip(0), atol=1e-5, rtol=1e-4)
    left = MeanHiddenState(network.model, copy.deepcopy(network.tokenizer))
    left.tokenizer.padding_side = "left"
    torch.testing.assert_close(left(TEXTS), alone, atol=1e-5, rtol=1e-4)


def test_half_precision_around_it_does_not_reach_it(network: MeanHiddenState) -> None:
    whole = network(TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(TEXTS), whole)


def test_long_texts_are_cut_and_wrong_models_refused(network: MeanHiddenState) -> None:
    long = " ".join(["bell"] * 500)
    torch.testing.assert_close(network([long]), network([" ".join(["bell"] * 64)]))
    tokenizer = copy.deepcopy(network.tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="expected a tokenizer with an end-of-text token, found none"):
        MeanHiddenState(network.model, tokenizer)
    with pytest.raises(InputError, match="expected a causal language model in"):
        MeanHiddenState.from_pretrained(MINIATURE / "prefix")
