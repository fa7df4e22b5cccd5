"""The small pretrained models in assets/miniature have the scores that scores.json says, measured anew."""

import json

import pytest
import torch
from conftest import MINIATURE
from peft import PeftModel
from transformers import AutoProcessor, AutoTokenizer, LlamaForCausalLM, LlavaForConditionalGeneration

from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.clap.encoder import ClapEncoder
from miniature.make.cav_mae import audio_scores
from miniature.make.clap import clap_scores
from miniature.make.language import language_scores
from miniature.make.prefix import prefix_scores
from miniature.make.vicuna import vicuna_scores
from miniature.make.vision import vision_scores
from miniature.vocabulary import word_list

SCORES = json.loads((MINIATURE / "scores.json").read_text())
TOLERANCE = 0.02  # a borderline clip or two may fall differently on another machine


@pytest.fixture(scope="module")
def llava() -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(MINIATURE / "llava").eval()


@pytest.fixture(scope="module")
def processor() -> AutoProcessor:
    return AutoProcessor.from_pretrained(MINIATURE / "llava")


def test_vision(llava: LlavaForConditionalGeneration, processor: AutoProcessor) -> None:
    measured = vision_scores(llava.model.vision_tower, processor.image_processor)
    assert measured == pytest.approx({name: SCORES["llava"][name] for name in measured}, abs=TOLERANCE)


def test_audio(llava: LlavaForConditionalGeneration, processor: AutoProcessor) -> None:
    encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae")
    measured = audio_scores(encoder, llava.model.vision_tower, processor.image_processor)
    assert measured == pytest.approx({name: SCORES["cav_mae"][name] for name in measured}, abs=TOLERANCE)


def test_language(llava: LlavaForConditionalGeneration, processor: AutoProcessor) -> None:
    measured = language_scores(llava, processor)
    assert measured == pytest.approx({name: SCORES["llava"][name] for name in measured}, abs=TOLERANCE)


def test_prefix(processor: AutoProcessor) -> None:
    plain = LlavaForConditionalGeneration.from_pretrained(MINIATURE / "llava").eval()
    measured = prefix_scores(plain, processor, [])
    prefixed = PeftModel.from_pretrained(plain, MINIATURE / "prefix")
    measured |= prefix_scores(prefixed, processor, prefixed.peft_config["default"].token_indices)
    assert measured == pytest.approx({name: SCORES["prefix"][name] for name in measured}, abs=TOLERANCE)


def test_vicuna_is_llavas_language_model(llava: LlavaForConditionalGeneration) -> None:
    vicuna = LlamaForCausalLM.from_pretrained(MINIATURE / "vicuna").eval()
    words = AutoTokenizer.from_pretrained(MINIATURE / "vicuna")
    assert vicuna_scores(vicuna, words)["perplexity"] == pytest.approx(SCORES["vicuna"]["perplexity"], rel=1e-3)
    tokens = words(["a bell rings while rain falls"], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(vicuna(tokens).logits, llava(tokens).logits, rtol=0, atol=1e-5)


def test_clap() -> None:
    """There is a gap to bridge, a linear classifier tells audio from text, and yet retrieval works."""
    measured = clap_scores(ClapEncoder.from_pretrained(MINIATURE / "clap"))
    assert measured == pytest.approx({name: SCORES["clap"][name] for name in measured}, abs=TOLERANCE)
    assert measured["gap"] > 0.6 and measured["linear_classifier"] > 0.99 and measured["retrieval_r10"] > 0.85


def test_vocabulary_is_the_worlds() -> None:
    assert json.loads((MINIATURE / "vocabulary.json").read_text()) == word_list()
