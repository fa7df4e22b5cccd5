"""What the scripts share: clips of their own, plain training, and scores that need no weights but the model's."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earshot.errors import InputError
from miniature import world


def clips(purpose: str, style: world.Style) -> Iterator[tuple[world.Clip, np.random.Generator]]:
    """Endless clips that only `purpose` uses, each with a generator for its image and audio."""
    for index in count():
        clip = world.make_clip(world.generator(1, purpose, index, "clip"), style)
        yield clip, world.generator(1, purpose, index, "media")


def hundreds(purpose: str, style: world.Style, number: int) -> Iterator[list[tuple[world.Clip, np.random.Generator]]]:
    """The first `number` of these clips, a hundred at a time: their media together would fill the memory."""
    stream = clips(purpose, style)
    return (list(islice(stream, 100)) for _ in range(number // 100))


def features_of(features: Callable[[Tensor, Tensor], Any], waveforms: list[np.ndarray]) -> Any:
    """What an encoder's `features` computes of B waveforms, (T,) each."""
    audio = torch.from_numpy(np.stack(waveforms))  # (B, T)
    return features(audio, torch.full((len(audio),), audio.shape[1]))


def made(root: Path, name: str) -> Path:
    """The folder of a small model that another one is made from.

    Raises:
        InputError: it is not there.
    """
    if not (root / name).is_dir():
        raise InputError(
            f"expected the small {name} in {root / name}, found no such folder; "
            f"make it: python -m miniature make {name} --root {root}"
        )
    return root / name


def train(modules: Iterable[nn.Module], loss_of_batch: Callable[[], Tensor], steps: int, lr: float, name: str) -> None:
    """AdamW with clipped gradients; a short warm-up, then cosine decay to a tenth; a line every hundred steps.

    Args:
        modules: whose parameters are trained, but for frozen ones.
        loss_of_batch: draws the next batch.
        steps: number of batches.
        lr: after the warm-up.
        name: for the lines.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=0.01)
    warm = max(1, steps // 20)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.1 + 0.45 * (1 + np.cos(np.pi * step / steps)))
    )
    start = time.time()
    for step in range(steps):
        loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 99 or step == steps - 1:
            print(f"{name} {step + 1}/{steps}  loss {loss.item():.4f}  {time.time() - start:.0f} s", flush=True)


def contrastive(audio: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Cross-entropy, in both directions, of pairs (B, D) and (B, D) of norm 1 among the batch."""
    logits = audio @ other.T / temperature  # (B, B)
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def recall_at_10(queries: Tensor, targets: Tensor) -> float:
    """Share of the queries (V, D) with their own target (V, D), or one equal to it, among the ten nearest."""
    similarity = queries @ targets.T  # (V, V)
    nearer = (similarity > similarity.diagonal()[:, None] + 1e-6).sum(1)
    return (nearer < 10).double().mean().item()


def probe_exact_sets(tokens: Tensor, present: Tensor, fit: int) -> float:
    """Share of the clips whose exact set of things a linear probe reads from their mean tokens (threshold 0.5).

    Args:
        tokens: (V, D), the mean of each clip's.
        present: (V, things), which things are there.
        fit: the probe is fitted to so many clips by least squares, and scored on the others.
    """
    x = F.pad(tokens.double(), (0, 1), value=1.0)  # (V, D + 1)
    weights = torch.linalg.lstsq(x[:fit], present[:fit].double()).solution
    return ((x[fit:] @ weights > 0.5) == present[fit:].bool()).all(1).double().mean().item()
