"""The embeddings that a decoder is trained on, row by row, and the digests of the model that made them."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lightning_modules.contracts import EmbeddingModel
from lightning_modules.embeddings.store import EmbeddingStore

AT_ONCE = 4096  # embeddings that prompts are found for, and captions that are made into tokens


class EmbeddedSplits:
    """Embeddings of the captions of splits by one model, and their prompts and tokens, which stay the same in training.

    Args:
        model: made the embeddings; it stays as it is.
        make_prompts: finds the prompts' tokens (N, P) of N embeddings, where the decoder reads any.
        make_tokens: makes N captions into padded tokens (N, L), where the decoder learns by these.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        make_prompts: Callable[[Tensor], Tensor] | None = None,
        make_tokens: Callable[[list[str]], Tensor] | None = None,
    ) -> None:
        self.model, self.make_prompts, self.make_tokens = model, make_prompts, make_tokens
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}  # embeddings, and the row in them of each caption
        self.prompts: dict[str, Tensor] = {}  # of these embeddings
        self.tokens: dict[str, Tensor] = {}  # of each caption

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of the model's towers: every checkpoint names them, and hashing them takes seconds."""
        return {part: self.model.fingerprint(part) for part in ("text", "audio")}

    @property
    def noted(self) -> dict[str, str]:
        """The beginnings of the digests, as exports and checkpoints have them."""
        return {part: digest[:16] for part, digest in self.digests.items()}

    def read(self, part: str, split: str | None, store: EmbeddingStore, audio: bool) -> None:
        """Take those of a split as `part`: of its captions or, with `audio`, of their clips; nothing without one."""
        if split is None:
            return
        self.parts[part] = embeddings, _ = store.of_captions(split, audio)
        if self.make_prompts is not None:
            self.prompts[part] = torch.cat([self.make_prompts(some) for some in embeddings.split(AT_ONCE)])
        if self.make_tokens is not None:
            texts = store.data.captions_of(split).texts
            starts = range(0, len(texts), AT_ONCE)
            self.tokens[part] = torch.cat([self.make_tokens(texts[start : start + AT_ONCE]) for start in starts])

    def rows(self, part: str, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The embeddings (B, D) of the captions with the numbers `rows` (B,), and their prompts (B, P)."""
        embeddings, row_of = self.parts[part]
        own = row_of[torch.from_numpy(rows)]
        prompts = self.prompts[part][own].to(device) if part in self.prompts else None
        return embeddings[own].to(device), prompts

    def tokens_of(self, part: str, rows: np.ndarray, device: torch.device) -> Tensor:
        """The tokens (B, L) of the captions with the numbers `rows` (B,), padded to the longest of them."""
        tokens = self.tokens[part][torch.from_numpy(rows)]
        longest = int((tokens != self.model.tokenizer.pad_token_id).sum(1).max())
        return tokens[:, :longest].to(device)
