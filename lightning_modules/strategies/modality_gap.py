"""WSAC's strategies in training: what is done to a text embedding so that the decoder is at home near the sounds (3.1).

A strategy maps embeddings (B, D) to (B, D). Where it needs data it has `prepare(text, audio)`, called once before
training with two functions that return the `Embedded` captions and sounds of a split.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from earshot.errors import InputError


class Embedded(NamedTuple):
    """Embeddings (N, D) and the clip that each belongs to."""

    embeddings: Tensor
    clip_ids: list[str]


Embed = Callable[[str], Embedded]


class NoiseInjection(nn.Module):
    """Adds zero-mean Gaussian noise in training, so that a region around a text means its caption (3.1.1).

    Args:
        variance: of the noise; "auto" takes the square of the paper's estimate from `captions` and prints it.
        captions: a split, or table, with several captions a clip; read with "auto" alone.
        num_clips: of it, so many.
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
    def caption_splits(self) -> set[str]:
        """Splits whose captions `prepare` reads."""
        return {self.captions} - {None}  # type: ignore[return-value]

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Estimate the variance, where it is to be."""
        if self.captions is not None:
            sigma = estimate_sigma(text(self.captions), self.num_clips)
            print(f"noise injection: sigma {sigma:.4f}, variance {sigma**2:.3g}, from {self.captions}", flush=True)
            self.variance.fill_(sigma**2)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, D): with noise in training, as they are otherwise."""
        if self.training:
            embeddings = embeddings + self.variance.sqrt() * torch.randn_like(embeddings)
        return F.normalize(embeddings, dim=-1) if self.renormalise else embeddings


def estimate_sigma(captions: Embedded, num_clips: int = 50) -> float:
    """The mean L-infinity norm of the differences between the embeddings of one clip's captions (3.1.1).

    Args:
        captions: of at least one clip with several.
        num_clips: the first so many with several.

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


class EmbeddingShift(nn.Module):
    """Adds the modality gap to every text embedding (3.1.2): the mean of sounds minus the mean of texts (Eq. 2).

    Args:
        split: whose sounds and captions the gap is between; need not be the target's, and by default is not.
        path: a safetensors file with the gap, as exports have; nothing is computed then.
        renormalise: scale the result to norm 1, as the authors' code does.
    """

    gap: Tensor

    def __init__(self, split: str = "wavcaps/train", path: str | None = None, renormalise: bool = False) -> None:
        super().__init__()
        self.split = split if path is None else None
        self.path = path
        self.renormalise = renormalise
        self.register_buffer("gap", torch.zeros(()))

    @property
    def caption_splits(self) -> set[str]:
        """Splits whose captions `prepare` reads."""
        return {self.split} - {None}  # type: ignore[return-value]

    @property
    def sound_splits(self) -> set[str]:
        """Splits whose sounds `prepare` reads."""
        return self.caption_splits

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Compute the gap, or read it."""
        if self.split is not None:
            self.gap = modality_gap(audio(self.split).embeddings, text(self.split).embeddings).to(self.gap.device)
            print(f"embedding shift: a gap of norm {self.gap.norm():.3f}, from {self.split}", flush=True)
        elif self.path is not None:
            self.gap = read_gap(self.path).to(self.gap.device)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        if self.gap.ndim and len(self.gap) != embeddings.shape[1]:
            raise InputError(
                f"expected a gap of {embeddings.shape[1]} numbers, as CLAP's embeddings have, found {len(self.gap)}; "
                "name the gap of this CLAP, or leave `path` out"
            )
        shifted = embeddings + self.gap
        return F.normalize(shifted, dim=-1) if self.renormalise else shifted

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.gap = torch.empty_like(state_dict.get(f"{prefix}gap", self.gap), device=self.gap.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def modality_gap(audio: Tensor, text: Tensor) -> Tensor:
    """Eq. 2: (N, D) sounds and (M, D) texts to (D,)."""
    return audio.float().mean(0) - text.float().mean(0)


def read_gap(path: str) -> Tensor:
    """The gap (D,) of a safetensors file.

    Raises:
        InputError: no such file, or another kind of file.
    """
    try:
        return load_file(path)["gap"]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(
            f"expected a gap in {path!r}, found {error}; name the embedding_shift.safetensors of an export"
        ) from error
