"""The small CLAP: pairs of an audio clip and a caption, of the `wavcaps` kind, trained contrastively.

Three things keep the modality gap that real models have, and that otherwise closes during training: the temperature is
fixed; captions tell less than the audio (some leave out things that sound, or how loud they are); and after training
the audio embeddings are moved in a direction that texts do not use. Real towers begin in cones that lie apart (Liang
et al., 2022) and stay there; these small ones begin side by side, and a decoder trained on text embeddings would
understand the audio embeddings as they are.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertConfig, BertModel, BertTokenizer

from lightning_modules.networks.clap.cnn14 import Cnn14
from lightning_modules.networks.clap.encoder import ClapEncoder
from miniature import world
from miniature.make.training import contrastive, features_of, hundreds, recall_at_10, train
from miniature.vocabulary import THINGS
from miniature.world import WAVCAPS

TEMPERATURE = 0.02
PAIRS = 12000
STEPS = 650
BATCH = 64
LEFT_OUT = 0.3  # of the captions of several things name fewer of them
# how far the audio embeddings are moved, in lengths of the audio head's output: the least of 0, 0.5, 1 ... at which a
# decoder of text embeddings has less than half the CIDEr-D of a supervised one on audiocaps/val (1.93 of 4.23; at 0:
# 3.55, at 1.5: 2.36)
APART = 2.0
NO_ADVERBS = 0.5  # of the captions do not say how loud
REVERBERANT = 0.5  # of the audio clips are recorded in a room


def text_tower(words: Iterable[str], num_layers: int, max_length: int) -> tuple[BertModel, BertTokenizer]:
    """A BERT of width 128 with one token a word."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = {word: i for i, word in enumerate((*special, *sorted(words)))}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=128, num_hidden_layers=num_layers, num_attention_heads=4,
        intermediate_size=512, max_position_embeddings=max_length, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False), BertTokenizer(vocab=vocabulary)


def make_model() -> ClapEncoder:
    """CNN14 and BERT, small: embeddings of 128, a vocabulary of the world's words."""
    words = {word for t in THINGS.values() if t.heard for word in (*t.heard.split(), *(t.verbs or ()))}
    words |= {"is", "and", "while", "as", "loudly", "softly"}
    audio = Cnn14((16, 32, 64, 96, 128, 128), sampling_rate=16000, hop_length=640, max_frequency=8000.0)
    return ClapEncoder(audio, *text_tower(words, 3, 64), 128)


def pairs(purpose: str, count: int, model: ClapEncoder, in_the_wild: bool = True) -> tuple[Tensor, Tensor, list[str]]:
    """Frames (count, F, 64), their numbers (count,), and a caption of each audio clip.

    `in_the_wild` puts audio clips into rooms and has captions tell less; without it pairs are as in the `wavcaps`
    split.
    """
    features, numbers, captions = [], [], []
    for batch in hundreds(purpose, WAVCAPS, count):
        waveforms = []
        for clip, rng in batch:
            style = WAVCAPS
            if in_the_wild and rng.random() < REVERBERANT:
                style = replace(style, reverb=rng.uniform(0, 0.5))
            waveforms.append(world.sound(clip, style, rng))
            if in_the_wild:
                style = replace(style, adverbs=bool(rng.random() > NO_ADVERBS))
            if in_the_wild and len(clip.events) > 1 and rng.random() < LEFT_OUT:
                kept = np.sort(rng.permutation(len(clip.events))[: rng.integers(1, len(clip.events))])
                clip = replace(clip, events=tuple(clip.events[i] for i in kept))
            captions.append(world.heard_caption(clip, style, rng))
        frames, number = features_of(model.audio_encoder.features, waveforms)
        features.append(frames.half())
        numbers.append(number)
    return torch.cat(features), torch.cat(numbers), captions


def make(root: Path) -> dict[str, float]:
    """Train both towers with the symmetric contrastive loss at a fixed temperature."""
    model = make_model().train()
    features, numbers, captions = pairs("clap", PAIRS, model)
    generator = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        pick = torch.randint(len(features), (BATCH,), generator=generator)
        audio = model.embed_features(features[pick].float(), numbers[pick])
        return contrastive(audio, model.embed_text([captions[i] for i in pick]), TEMPERATURE)

    train([model], loss, STEPS, 1e-3, "clap")
    move_apart(model.eval(), features[:1000].float(), numbers[:1000], captions[:1000])
    model.save_pretrained(root / "clap")
    return clap_scores(model)


@torch.no_grad()
def move_apart(model: ClapEncoder, features: Tensor, numbers: Tensor, captions: list[str]) -> None:
    """Add to the audio head's bias a direction orthogonal to all text embeddings, which keeps similarities' order."""
    text = model.embed_text(captions)
    _, size, directions = torch.linalg.svd(text, full_matrices=False)
    used = directions[size > 0.02 * size[0]]  # (R, D)
    away = torch.randn(model.embedding_dim, generator=torch.Generator().manual_seed(1))
    away = F.normalize(away - used.T @ (used @ away), dim=0)
    length = model.audio_proj(model.audio_encoder(features, numbers)).norm(dim=1).mean()
    model.audio_proj[2].bias += APART * length * away


@torch.no_grad()
def clap_scores(model: ClapEncoder) -> dict[str, float]:
    """Retrieval among 500 held-out pairs, the gap, and how well a linear classifier tells audio from text."""
    features, numbers, captions = pairs("clap held out", 1000, model, in_the_wild=False)
    audio = torch.cat([model.embed_features(f.float(), n) for f, n in zip(features.split(100), numbers.split(100))])
    text = model.embed_text(captions)
    x = F.pad(torch.cat((audio[500:], text[500:])).double(), (0, 1), value=1.0)  # (1000, D + 1)
    sides = torch.cat((torch.ones(500), -torch.ones(500))).double()
    line = torch.linalg.lstsq(x, sides[:, None]).solution[:, 0]
    told = F.pad(torch.cat((audio[:500], text[:500])).double(), (0, 1), value=1.0) @ line
    return {
        "retrieval_r10": recall_at_10(audio[:500], text[:500]),
        "gap": (audio.mean(0) - text.mean(0)).norm().item(),
        "linear_classifier": (told.sign() == sides).double().mean().item(),
        "own_similarity": (audio * text).sum(1).mean().item(),
    }
