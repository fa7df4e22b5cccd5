"""The small CAV-MAE's audio encoder: pretrained on weak labels, and on which image belongs to which audio."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from lightning_modules.networks.cav_mae import CavMaeEncoder
from miniature import world
from miniature.make.llava import make_processor
from miniature.make.training import contrastive, features_of, hundreds, made, probe_exact_sets, train
from miniature.make.vision import image_tokens, pictures
from miniature.vocabulary import THINGS
from miniature.world import AUDIOSET

HEARD = tuple(name for name, thing in THINGS.items() if thing.heard)


@torch.no_grad()
def labelled_audio(
    purpose: str, count: int, encoder: CavMaeEncoder, tower: nn.Module, processor: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Filterbanks (count, 256, 128), weak labels, and the mean image tokens of one frame of each clip."""
    features, labels, means = [], [], []
    for batch in hundreds(purpose, AUDIOSET, count):
        waveforms = [world.sound(clip, AUDIOSET, rng) for clip, rng in batch]
        features.append(features_of(encoder.features, waveforms).half())
        means.append(image_tokens(tower, pictures(batch), processor).mean(1))
        heard = [{event.name for event in clip.events} for clip, _ in batch]
        labels += [[float(name in names) for name in HEARD] for names in heard]
    return torch.cat(features), torch.tensor(labels), torch.cat(means)


def make(root: Path) -> dict[str, float]:
    """Train on clips such as AudioSet's, beside the small LLaVA's vision tower."""
    tower = LlavaForConditionalGeneration.from_pretrained(made(root, "llava")).model.vision_tower
    processor = make_processor().image_processor
    encoder = CavMaeEncoder(num_frames=256, width=96, depth=4, num_heads=4, output_dim=96)
    projection = encoder.projection
    encoder.set_submodule("projection", nn.Identity())  # the map to image tokens is not pretrained
    tagger, to_audio, to_image = nn.Linear(96, len(HEARD)), nn.Linear(96, 64), nn.Linear(96, 64)
    features, labels, means = labelled_audio("audio", 10000, encoder, tower, processor)
    generator = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        pick = torch.randint(len(features), (32,), generator=generator)
        pooled = encoder(encoder.augment(features[pick].float(), generator)).mean(1)  # (B, 96)
        match = contrastive(F.normalize(to_audio(pooled)), F.normalize(to_image(means[pick])), 0.1)
        return 10 * F.binary_cross_entropy_with_logits(tagger(pooled), labels[pick]) + 0.2 * match

    train((encoder, tagger, to_audio, to_image), loss, 900, 1e-3, "cav_mae")
    encoder.projection = projection
    encoder.save_pretrained(root / "cav_mae")
    return audio_scores(encoder, tower, processor)


@torch.no_grad()
def audio_scores(encoder: CavMaeEncoder, tower: nn.Module, processor: Any) -> dict[str, float]:
    """What a linear probe reads from the mean audio tokens of 500 clips, fitted on 1000 others."""
    features, labels, _ = labelled_audio("audio held out", 1500, encoder, tower, processor)
    tokens = torch.cat([encoder(chunk.float()).mean(1) for chunk in features.split(100)])
    return {"probe_exact_sets": probe_exact_sets(tokens, labels, 1000)}
