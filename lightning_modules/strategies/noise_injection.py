"""WSAC's noise injection: Gaussian noise on text embeddings in training (3.1.1)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.contracts import Embed, Embedded


class NoiseInjection(nn.Module):
    """Adds zero-mean Gaussian noise in training, so that the decoder maps a region around a text to its caption.

    Args:
        variance: of the noise; "auto" takes the square of the paper's estimate from `captions` and prints it.
        captions: a split, or table, with several captions for each clip; read with "auto" alone.
        num_clips: how many of its clips the estimate uses.
        renormalise: scale the result to norm 1, as the authors' code does.

    Raises:
        InputError: a variance below 0, or no clip to estimate it from.
    """

    variance: Tensor

    def __init__(
        self,
        variance: float | Literal["auto"] = 0.013,
        captions: str = "audiocaps/val",
        num_clips: int = 50,
        renormalise: bool = False,
    ) -> None:
        super().__init__()
        if variance != "auto" and not 0 <= float(variance) < math.inf:
            raise InputError(f'expected a variance of at least 0, or "auto", found {variance}; correct it')
        if num_clips < 1:
            raise InputError(f"expected num_clips of at least 1, found {num_clips}; correct it")
        self.captions = captions if variance == "auto" else None
        self.num_clips = num_clips
        self.renormalise = renormalise
        self.register_buffer("variance", torch.tensor(0.0 if variance == "auto" else float(variance)))

    @property
    def splits(self) -> set[str]:
        """The split that the variance is estimated from, where it is."""
        return set() if self.captions is None else {self.captions}

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Estimate the variance with "auto"."""
        if self.captions is not None:
            sigma = estimate_sigma(text(self.captions), self.num_clips)
            print(f"noise injection: sigma {sigma:.4f}, variance {sigma**2:.3g}, from {self.captions}", flush=True)
            self.variance.fill_(sigma**2)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, D): with noise in training, unchanged otherwise."""
        if self.training:
            embeddings = embeddings + self.variance.sqrt() * torch.randn_like(embeddings)
        return F.normalize(embeddings, dim=-1) if self.renormalise else embeddings


def estimate_sigma(captions: Embedded, num_clips: int = 50) -> float:
    """The mean L-infinity norm of the differences between the embeddings of captions of the same clip (3.1.1).

    Args:
        captions: of at least one clip with several.
        num_clips: how many clips with several captions are used, the first ones.

    Raises:
        InputError: no clip has several captions.
    """
    rows: dict[str, list[int]] = {}
    for row, clip_id in enumerate(captions.clip_ids):
        rows.setdefault(clip_id, []).append(row)
    several = [group for group in rows.values() if len(group) > 1][:num_clips]
    if not several:
        raise InputError("expected several captions a clip to estimate the noise from, found one; name another split")
    norms = [torch.pdist(captions.embeddings[group].float(), p=torch.inf) for group in several]
    return torch.cat(norms).mean().item()
