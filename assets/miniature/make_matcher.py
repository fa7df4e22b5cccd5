"""Make the miniature's matcher of sounds and texts: `python assets/miniature/make_matcher.py`; scores in scores.json.

A CLAP that, as ImageBind does, knows sounds mostly by what is seen with them (60% of its captions): guided by it alone
a language model says what can be seen. Its audio tower is the small CLAP's (make_clap.py), frozen; its text tower is
new.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertConfig, BertModel, BertTokenizer

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from make import clips, run, train
from make_gpt2 import SEEN, after_article, make_tokenizer, seen_text

from lightning_modules.networks.clap.encoder import ClapEncoder
from miniature import world
from miniature.world import AUDIOCAPS, Clip

TEMPERATURE = 0.05
PAIRS = 2000
STEPS = 300
BATCH = 64


def make_model() -> ClapEncoder:
    """The small CLAP with another text tower and other projections."""
    clap = ClapEncoder.from_pretrained(HERE / "clap")
    words = sorted(word for word in make_tokenizer().get_vocab() if word.isalpha())
    vocabulary = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words))}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=80, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    bert = BertModel(config, add_pooling_layer=False)
    return ClapEncoder(clap.audio_encoder, bert, BertTokenizer(vocab=vocabulary), 128)


def heard(purpose: str, count: int, model: ClapEncoder) -> tuple[list[Clip], Tensor]:
    """Clips, and what the frozen tower hears of each: (count, 128)."""
    stream, drawn, states = clips(purpose, AUDIOCAPS), [], []
    for start in range(0, count, 100):
        some = [next(stream) for _ in range(start, min(start + 100, count))]
        sound = torch.from_numpy(np.stack([world.sound(clip, AUDIOCAPS, rng) for clip, rng in some]))
        drawn += [clip for clip, _ in some]
        with torch.no_grad():
            features = model.audio_encoder.features(sound, torch.full((len(sound),), sound.shape[1]))
            states.append(model.audio_encoder(*features))
    return drawn, torch.cat(states)


def caption(clip: Clip, rng: np.random.Generator, seen_rate: float = SEEN) -> str:
    """What is seen or heard in a clip; half begin as the prompt of guided decoding does."""
    text = seen_text(clip, rng) if rng.random() < seen_rate else world.heard_caption(clip, AUDIOCAPS, rng)
    return f"audio of a {after_article(text)}" if rng.random() < 0.5 else text


def make_matcher() -> tuple[list[ClapEncoder], dict]:
    """Train the text tower and the projections, contrastively, on fresh captions of the same sounds."""
    model = make_model().train()
    model.audio_encoder.eval().requires_grad_(False)
    drawn, states = heard("matcher", PAIRS, model)
    rng = np.random.default_rng(0)

    def losses() -> Iterator[Tensor]:
        while True:
            pick = rng.integers(len(drawn), size=BATCH)
            audio = F.normalize(model.audio_proj(states[torch.from_numpy(pick)]), dim=-1)
            text = model.embed_text([caption(drawn[i], rng) for i in pick])
            logits = audio @ text.T / TEMPERATURE  # (B, B)
            own = torch.arange(BATCH)
            yield (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

    train([p for p in model.parameters() if p.requires_grad], losses(), STEPS, 1e-3, "matcher")
    return [model.eval().requires_grad_(True)], matcher_scores(model)


@torch.no_grad()
def matcher_scores(model: ClapEncoder) -> dict[str, float]:
    """Retrieval of sounds by captions among 500 clips held out, of what is seen in them and of what is heard."""
    drawn, states = heard("matcher held out", 500, model)
    audio, rng = F.normalize(model.audio_proj(states), dim=-1), np.random.default_rng(1)
    scores = {}
    for name, rate in (("seen", 1.0), ("heard", 0.0)):
        similarity = model.embed_text([caption(clip, rng, rate) for clip in drawn]) @ audio.T  # (500, 500)
        nearer = (similarity > similarity.diagonal()[:, None] + 1e-6).sum(1)
        scores[f"retrieval_r10_{name}"] = (nearer < 10).double().mean().item()
    return scores


if __name__ == "__main__":
    run("matcher", __doc__, make_matcher)
