"""The vision tower of the small LLaVA, trained on which thing and which colour each patch shows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from miniature.make.training import clips, probe_exact_sets, train
from miniature.sprites import IMAGE_SIZE, PATCH_SIZE, draw
from miniature.vocabulary import COLOURS, SCENES, SILENT, SOUNDING
from miniature.world import AUDIOCAPS, Clip, layout, picture

SEEN = (*SOUNDING, *SILENT)
GRID = IMAGE_SIZE // PATCH_SIZE


def image_tokens(tower: nn.Module, images: np.ndarray, processor: Any) -> Tensor:
    """What LLaVA hands on of images (B, 64, 64, 3) uint8: hidden state -2 without the class token, (B, 64, 96)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (processor.image_mean, processor.image_std))
    pixel_values = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std  # (B, 3, 64, 64)
    return tower(pixel_values, output_hidden_states=True).hidden_states[-2][:, 1:]


def pictures(batch: list[tuple[Clip, np.random.Generator]]) -> np.ndarray:
    """An image of each clip, (B, 64, 64, 3) uint8."""
    return np.stack([picture(clip, rng) for clip, rng in batch])


def labelled_images(stream: Iterator, count: int) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
    """Images with, for each patch, the thing (or the scene) and colour it shows, and the set of things."""
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    thing = torch.zeros(count, GRID, GRID, dtype=torch.long)
    colour = torch.zeros(count, GRID, GRID, dtype=torch.long)
    present = torch.zeros(count, len(SEEN))
    for i in range(count):
        clip, rng = next(stream)
        thing[i] = len(SEEN) + SCENES.index(clip.scene)
        placed = layout(clip, rng)
        for name, shade, row, column in placed:
            thing[i, row : row + 3, column : column + 3] = SEEN.index(name)
            colour[i, row : row + 3, column : column + 3] = 1 + list(COLOURS).index(shade)
            present[i, SEEN.index(name)] = 1
        images[i] = draw(clip.scene, placed, rng)
    return images, thing.flatten(1), colour.flatten(1), present


def train_vision(tower: Any, processor: Any) -> dict[str, float]:
    """Train the layer that is handed on, then fold centring and scaling into the tower's weights.

    Without the loss on the pooled tokens of that very layer, patches of the ground carry the scene alone and an
    audio encoder has nothing to match there. Folded, the tokens have mean 0 and one known scale over the world, so
    that costs between token sets have one too.
    """
    things, colours = nn.Linear(96, len(SEEN) + len(SCENES)), nn.Linear(96, 1 + len(COLOURS))
    pooled = nn.Linear(96, len(SEEN))
    stream = clips("vision", AUDIOCAPS)

    def loss() -> Tensor:
        images, thing, colour, present = labelled_images(stream, 64)
        tokens = image_tokens(tower, images, processor)
        return (
            F.cross_entropy(things(tokens).flatten(0, 1), thing.flatten())
            + F.cross_entropy(colours(tokens).flatten(0, 1), colour.flatten())
            + 5 * F.binary_cross_entropy_with_logits(pooled(tokens.mean(1)), present)
        )

    train((tower, things, colours, pooled), loss, 500, 1e-3, "vision")

    images, thing, _, _ = labelled_images(clips("vision held out", AUDIOCAPS), 1000)
    with torch.no_grad():
        tokens = image_tokens(tower, images, processor)
        named = (things(tokens).argmax(-1) == thing).float().mean().item()
        mean, scale = tokens.mean((0, 1)), tokens.std()
        handed_on = tower.encoder.layers[:-1]
        branches = [m for layer in handed_on for m in (layer.self_attn.out_proj, layer.mlp.fc2)]
        for module in (tower.pre_layrnorm, *branches):
            module.weight /= scale
            module.bias /= scale
        handed_on[-1].mlp.fc2.bias -= mean / scale
        error = (image_tokens(tower, images, processor) - (tokens - mean) / scale).abs().max().item()
    return {"patches_named": named, "folding_error": error, **vision_scores(tower, processor)}


@torch.no_grad()
def vision_scores(tower: nn.Module, processor: Any) -> dict[str, float]:
    """What a linear probe reads from the mean image tokens of 500 images, fitted on 1000 others."""
    images, _, _, present = labelled_images(clips("vision probe", AUDIOCAPS), 1500)
    tokens = image_tokens(tower, images, processor)
    return {
        "probe_exact_sets": probe_exact_sets(tokens.mean(1), present, 1000),
        "token_deviation": tokens.std().item(),
    }
