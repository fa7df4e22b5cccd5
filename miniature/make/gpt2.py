"""The small GPT-2, which is the language model of guided decoding.

Like a language model of web text it has read more of what is seen than of what is heard (60 to 40). It names things
before their colour: otherwise the first word would decide whether a sentence can be audible. Some of its texts begin
with the objects that they are about, so that keywords in a prompt have an effect.
"""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from miniature import world
from miniature.make.training import clips, train
from miniature.vocabulary import COLOURS, SCENES, THINGS, a, without_article
from miniature.world import AUDIOCAPS, Clip

SEEN_SHARE = 0.6  # of the texts say what is seen
KEYWORDS = 0.3  # of the texts begin with objects
STEPS = 500
BATCH = 64
HEARD_NOUN = {name: thing.heard.split()[-1] for name, thing in THINGS.items() if thing.heard}


def seen_text(clip: Clip, rng: np.random.Generator) -> str:
    """What is seen, with attributes after the noun: "a bell that is red and a tree on the grass".

    One in five says what the things do, which makes it no more audible: "a bell ringing on the grass".
    """
    doing, colours, scene = rng.random(3) < (0.2, 0.7, 0.7)
    phrases = []
    for i in rng.permutation(len(clip.placed)):
        name, colour, _ = clip.placed[i]
        thing = THINGS[name]
        noun = a(str(thing.seen))
        if doing and thing.verbs:
            noun += f" {thing.verbs[1]}"
        phrases.append(f"{noun} that is {colour}" if colours and not doing else noun)
    return " and ".join(phrases) + (f" on the {clip.scene}" if scene or doing else "")


def texts(purpose: str) -> Iterator[str]:
    """Endless texts that only `purpose` uses; they lack the article that prompts end with."""
    for clip, rng in clips(purpose, AUDIOCAPS):
        seen = rng.random() < SEEN_SHARE
        text = without_article(seen_text(clip, rng) if seen else world.heard_caption(clip, AUDIOCAPS, rng))
        if rng.random() < KEYWORDS:
            names = [name for name, _, _ in clip.placed] if seen else [event.name for event in clip.events]
            nouns = [str(THINGS[n].seen) if seen else HEARD_NOUN[n] for n in rng.permutation(names)[:2]]
            yield f"objects : {' , and a '.join(nouns)} . this is a sound of {text} ."
        else:
            yield f"audio of a {text} ."


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, lower case."""
    words = {word for name in HEARD_NOUN for word in (HEARD_NOUN[name], *(THINGS[name].verbs or ()))}
    words |= {str(thing.seen) for thing in THINGS.values() if thing.seen} | {*COLOURS, *SCENES}
    words |= {"audio", "of", "a", "an", "is", "and", "while", "as", "that", "on", "the", "objects", "this", "sound"}
    words |= set(":,.")
    special = ("<|endoftext|>", "<|unknown|>")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate((*special, *sorted(words)))}, special[1]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[0], pad_token=special[0],
        unk_token=special[1], model_max_length=64,
    )  # fmt: skip


def token_loss(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, batch: list[str]) -> Tensor:
    """Mean negative log-likelihood of a token, the end token included."""
    encoded = tokenizer([f"<|endoftext|>{text}<|endoftext|>" for text in batch], padding=True, return_tensors="pt")
    tokens, mask = encoded["input_ids"], encoded["attention_mask"]
    logits = model(tokens[:, :-1], attention_mask=mask[:, :-1]).logits  # (B, L - 1, vocabulary)
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].masked_fill(mask[:, 1:] == 0, -100).flatten())


def make(root: Path) -> dict[str, float]:
    """Train three layers of width 128."""
    tokenizer = make_tokenizer()
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=128, n_layer=3, n_head=4, bos_token_id=end, eos_token_id=end,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model, stream = GPT2LMHeadModel(config).train(), texts("gpt2")

    train([model], lambda: token_loss(model, tokenizer, list(islice(stream, BATCH))), STEPS, 2e-3, "gpt2")
    model.eval().save_pretrained(root / "gpt2")
    tokenizer.save_pretrained(root / "gpt2")
    return gpt2_scores(model, tokenizer)


@torch.no_grad()
def gpt2_scores(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
    """Perplexity per token on 500 held-out texts."""
    held_out = list(islice(texts("gpt2 held out"), 500))
    return {"perplexity": math.exp(token_loss(model, tokenizer, held_out).item())}
