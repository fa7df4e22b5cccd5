"""The matcher of guided decoding: a CLAP that, as ImageBind does, knows audio mostly by what is seen with it.

60% of its captions say what is seen: guided by it alone, a language model says what can be seen. Its audio tower is the
small CLAP's, frozen; its text tower is new.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.networks.clap.encoder import ClapEncoder
from miniature import world
from miniature.make.clap import text_tower
from miniature.make.gpt2 import SEEN_SHARE, make_tokenizer, seen_text
from miniature.make.training import contrastive, features_of, hundreds, made, recall_at_10, train
from miniature.vocabulary import without_article
from miniature.world import AUDIOCAPS, Clip

TEMPERATURE = 0.05
PAIRS = 2000
STEPS = 300
BATCH = 64


def audio_states(purpose: str, count: int, model: ClapEncoder) -> tuple[list[Clip], Tensor]:
    """Clips, and what the frozen audio tower makes of each: (count, 128)."""
    drawn, states = [], []
    for batch in hundreds(purpose, AUDIOCAPS, count):
        waveforms = [world.sound(clip, AUDIOCAPS, rng) for clip, rng in batch]
        drawn += [clip for clip, _ in batch]
        with torch.no_grad():
            states.append(model.audio_encoder(*features_of(model.audio_encoder.features, waveforms)))
    return drawn, torch.cat(states)


def caption(clip: Clip, rng: np.random.Generator, seen_share: float = SEEN_SHARE) -> str:
    """What is seen or heard in a clip; half of the captions begin as the prompt of guided decoding does."""
    text = seen_text(clip, rng) if rng.random() < seen_share else world.heard_caption(clip, AUDIOCAPS, rng)
    return f"audio of a {without_article(text)}" if rng.random() < 0.5 else text


def make(root: Path) -> dict[str, float]:
    """Train the text tower and the projections, contrastively, on fresh captions of the same clips."""
    clap = ClapEncoder.from_pretrained(made(root, "clap"))
    words = [word for word in make_tokenizer().get_vocab() if word.isalpha()]
    model = ClapEncoder(clap.audio_encoder, *text_tower(words, 2, 80), 128).train()
    model.audio_encoder.eval().requires_grad_(False)
    drawn, states = audio_states("matcher", PAIRS, model)
    rng = np.random.default_rng(0)

    def loss() -> Tensor:
        pick = rng.integers(len(drawn), size=BATCH)
        audio = F.normalize(model.audio_proj(states[torch.from_numpy(pick)]), dim=-1)
        return contrastive(audio, model.embed_text([caption(drawn[i], rng) for i in pick]), TEMPERATURE)

    train([model], loss, STEPS, 1e-3, "matcher")
    model.eval().requires_grad_(True).save_pretrained(root / "matcher")
    return matcher_scores(model)


@torch.no_grad()
def matcher_scores(model: ClapEncoder) -> dict[str, float]:
    """Retrieval of 500 held-out audio clips by captions of what is seen in them, and of what is heard."""
    drawn, states = audio_states("matcher held out", 500, model)
    audio, rng = F.normalize(model.audio_proj(states), dim=-1), np.random.default_rng(1)
    return {
        f"retrieval_r10_{name}": recall_at_10(model.embed_text([caption(clip, rng, share) for clip in drawn]), audio)
        for name, share in (("seen", 1.0), ("heard", 0.0))
    }
