"""WSAC's embedding shift: the modality gap added to text embeddings in training (3.1.2)."""

from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.contracts import Embed


class EmbeddingShift(nn.Module):
    """Adds the modality gap to every text embedding: the mean audio embedding minus the mean text embedding (Eq. 2).

    Args:
        split: the corpus whose audio and captions the gap is computed from; by default not the target corpus.
        num_clips: a sample of so many of its clips is enough; None takes all. The paper speaks of 50 pairs of WavCaps,
            for the noise.
        path: a safetensors file with the gap, as exports have; nothing is computed then.
        renormalise: scale the result to norm 1, as the authors' code does.
    """

    gap: Tensor

    def __init__(
        self,
        split: str = "wavcaps/train",
        num_clips: int | None = None,
        path: str | None = None,
        renormalise: bool = False,
    ) -> None:
        super().__init__()
        self.split = split
        self.num_clips = num_clips
        self.path = path
        self.renormalise = renormalise
        self.register_buffer("gap", torch.zeros(()))

    @property
    def splits(self) -> set[str]:
        """The split that the gap is computed from, where it is."""
        return {self.split} if self.path is None else set()

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Compute the gap, or read it.

        Raises:
            InputError: no such file, or another kind of file.
        """
        if self.path is not None:
            try:
                self.gap = load_file(self.path, device=str(self.gap.device))["gap"]
            except (OSError, SafetensorError, KeyError) as error:
                raise InputError(
                    f"expected a gap in {self.path!r}, found {error}; name the embedding_shift.safetensors of an export"
                ) from error
            return
        sounds, texts = (embed(self.split, self.num_clips).embeddings for embed in (audio, text))
        self.gap = modality_gap(sounds, texts).to(self.gap.device)
        print(
            f"embedding shift: a gap of norm {self.gap.norm():.3f}, from {len(sounds)} clips of {self.split}",
            flush=True,
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        if self.gap.ndim and len(self.gap) != embeddings.shape[1]:
            raise InputError(
                f"expected a gap of {embeddings.shape[1]} numbers, the width of CLAP's embeddings, found "
                f"{len(self.gap)}; name the gap of this CLAP, or leave `path` out"
            )
        shifted = embeddings + self.gap
        return F.normalize(shifted, dim=-1) if self.renormalise else shifted

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.gap = torch.empty_like(state_dict.get(f"{prefix}gap", self.gap), device=self.gap.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def modality_gap(audio: Tensor, text: Tensor) -> Tensor:
    """Eq. 2: audio embeddings (N, D) and text embeddings (M, D) to (D,)."""
    return audio.float().mean(0) - text.float().mean(0)
