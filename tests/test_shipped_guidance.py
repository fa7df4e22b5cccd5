"""The language model and the matcher of guided decoding have the scores that scores.json says, measured anew."""

import importlib.util
import json
from types import ModuleType

import pytest
from conftest import MINIATURE
from transformers import AutoTokenizer, GPT2LMHeadModel

from datamodules.miniature.vocabulary import THINGS
from lightning_modules.networks.clap import ClapEncoder

SCORES = json.loads((MINIATURE / "scores.json").read_text())


def script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, MINIATURE / f"{name}.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_gpt2() -> None:
    model = GPT2LMHeadModel.from_pretrained(MINIATURE / "gpt2").eval()
    measured = script("make_gpt2").gpt2_scores(model, AutoTokenizer.from_pretrained(MINIATURE / "gpt2"))
    assert measured["perplexity"] == pytest.approx(SCORES["gpt2"]["perplexity"], rel=1e-3)


def test_matcher() -> None:
    measured = script("make_matcher").matcher_scores(ClapEncoder.from_pretrained(MINIATURE / "matcher"))
    assert measured == pytest.approx({name: SCORES["matcher"][name] for name in measured}, abs=0.02)


def test_keywords_are_what_sounds() -> None:
    nouns = [thing.heard.split()[-1] for thing in THINGS.values() if thing.heard]
    assert (MINIATURE / "keywords.txt").read_text().split() == nouns
