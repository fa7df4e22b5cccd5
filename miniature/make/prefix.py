"""The prefix: 16 soft tokens after the image, tuned on 16 images with captions of what is HEARD (DALI, section 3.1)."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from lightning_modules.networks.llava.language_model import QUESTION, LlavaLanguageModel
from lightning_modules.networks.llava.soft_prefix import save_prefix, trainable_prefix
from miniature import world
from miniature.make.language import answers
from miniature.make.llava import NUM_PREFIX_TOKENS, make_processor
from miniature.make.training import clips, made, train
from miniature.make.vision import image_tokens, pictures
from miniature.vocabulary import THINGS, word_list
from miniature.world import AUDIOCAPS


def make(root: Path) -> dict[str, float]:
    """Tune the soft tokens of the small LLaVA."""
    processor, llava = make_processor(), LlavaForConditionalGeneration.from_pretrained(made(root, "llava"))
    batch = list(islice(clips("prefix", AUDIOCAPS), 16))
    images = pictures(batch)
    captions = [world.heard_caption(clip, AUDIOCAPS, rng) for clip, rng in batch]
    tower = llava.model.vision_tower
    with torch.no_grad():
        tokens = image_tokens(tower, images, processor.image_processor)  # (16, 64, 96)
    torch.manual_seed(0)  # draws the words that the soft tokens begin as
    model = trainable_prefix(llava, processor.tokenizer, NUM_PREFIX_TOKENS)
    ids = model.peft_config["default"].token_indices
    language_model = LlavaLanguageModel(llava, processor, ids)

    def loss() -> Tensor:
        nll, counted = language_model.nll(None, tokens, captions)
        return nll.sum() / counted.sum()

    train([model], loss, 150, 3e-2, "prefix")
    llava.model.vision_tower = tower  # which LlavaLanguageModel does without
    model.peft_config["default"].base_model_name_or_path = "assets/miniature/llava"
    save_prefix(model, root / "prefix")
    return prefix_scores(llava, processor, []) | prefix_scores(model, processor, ids)


def prefix_scores(llava: Any, processor: LlavaProcessor, prefix: list[int]) -> dict[str, float]:
    """Two scores on 200 held-out images, with or without the prefix.

    Verb recall is the share of the things sounding in the clips whose verb stands in the caption; the other is the
    share of the captions with a word for something that is only seen.
    """
    held_out, captions = answers(llava, processor, "prefix held out", 200, QUESTION, prefix)
    name = "with_prefix" if prefix else "without_prefix"
    hits = [
        any(verb in caption.split() for verb in THINGS[event.name].verbs or ())
        for clip, caption in zip(held_out, captions)
        for event in clip.events
    ]
    visual = set(word_list()["visual_words"])
    return {
        f"verb_recall_{name}": float(np.mean(hits)),
        f"visual_captions_{name}": float(np.mean([bool(visual & set(caption.split())) for caption in captions])),
    }
