"""The embeddings that a decoder is trained on, row by row, and the digests of the model that made them."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lightning_modules.contracts import EmbeddingModel
from lightning_modules.embeddings.store import EmbeddingStore

AT_ONCE = 4096  # embeddings that prompts are found for


class EmbeddedSplits:
    """Embeddings of the captions of splits by one model.

    Args:
        model: made them; it stays as it is.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        self.model = model
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}  # embeddings, and the row in them of each caption
        self.prompts: dict[str, Tensor] = {}  # of these embeddings

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of the model's towers: every checkpoint names them, and hashing them takes seconds."""
        return {part: self.model.fingerprint(part) for part in ("text", "audio")}

    @property
    def noted(self) -> dict[str, str]:
        """The beginnings of the digests, as exports and checkpoints have them."""
        return {part: digest[:16] for part, digest in self.digests.items()}

    def read(
        self, part: str, split: str | None, store: EmbeddingStore, audio: bool,
        prompts: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Take those of a split as `part`: of its captions or, with `audio`, of their clips; nothing without one.

        `prompts` finds the tokens (N, P) of N embeddings, here once: they stay the same in training.
        """
        if split is not None:
            self.parts[part] = embeddings, _ = store.of_captions(split, audio)
            if prompts is not None:
                self.prompts[part] = torch.cat([prompts(some) for some in embeddings.split(AT_ONCE)])

    def rows(self, part: str, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The embeddings (B, D) of the captions with the numbers `rows` (B,), and their prompts (B, P)."""
        embeddings, row_of = self.parts[part]
        own = row_of[torch.from_numpy(rows)]
        prompts = self.prompts[part][own].to(device) if part in self.prompts else None
        return embeddings[own].to(device), prompts
