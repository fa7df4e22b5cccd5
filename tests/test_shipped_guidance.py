"""The language model and the matcher of guided decoding have the scores that scores.json says, measured anew."""

import json

import pytest
import torch
from conftest import MINIATURE
from transformers import AutoTokenizer, GPT2LMHeadModel

from lightning_modules.networks.clap.encoder import ClapEncoder
from miniature.make.gpt2 import gpt2_scores
from miniature.make.matcher import matcher_scores
from miniature.vocabulary import THINGS

SCORES = json.loads((MINIATURE / "scores.json").read_text())


def test_gpt2() -> None:
    model = GPT2LMHeadModel.from_pretrained(MINIATURE / "gpt2").eval()
    measured = gpt2_scores(model, AutoTokenizer.from_pretrained(MINIATURE / "gpt2"))
    assert measured["perplexity"] == pytest.approx(SCORES["gpt2"]["perplexity"], rel=1e-3)


def test_matcher() -> None:
    measured = matcher_scores(ClapEncoder.from_pretrained(MINIATURE / "matcher"))
    assert measured == pytest.approx({name: SCORES["matcher"][name] for name in measured}, abs=0.02)


@torch.no_grad()
def test_the_matchers_texts_trimmed_are_padded() -> None:
    matcher = ClapEncoder.from_pretrained(MINIATURE / "matcher")
    texts = ["audio of a bell", "audio of a dog barks and rain falls", "rain"]
    padded = matcher.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")
    assert padded["input_ids"].shape == (3, 77)
    out = matcher.text_encoder(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"])
    expected = torch.nn.functional.normalize(matcher.text_proj(out.last_hidden_state[:, 0]), dim=-1)
    torch.testing.assert_close(matcher.embed_text(texts), expected, atol=1e-5, rtol=0)


def test_keywords_are_what_sounds() -> None:
    nouns = [thing.heard.split()[-1] for thing in THINGS.values() if thing.heard]
    assert (MINIATURE / "keywords.txt").read_text().split() == nouns
