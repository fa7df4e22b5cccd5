"""The hard prompt of Zhang et al. (arXiv 2406.06295): sound events that CLAP finds, in words before the caption."""

from dataclasses import InitVar, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.contracts import EmbeddingModel
from lightning_modules.decoding.keyword_prompt import KeywordPrompt


@dataclass(eq=False)  # torch hashes modules by identity
class SoundEventPrompt(KeywordPrompt):
    """Names the sound events nearest to a caption's embedding in training, and to the audio's at inference.

    The paper's words and how many events it names were not available to us in a source: the defaults are ours.

    Args:
        bank: sound events, as `KeywordPrompt` reads them; AudioSet's classes at full size.
        num_keywords: how many sound events are named.
        beginning: the prompt's text before them.
        between: the prompt's text between two of them.
        ending: the prompt's text after them.
        max_tokens: P, how many tokens every prompt has: what is shorter is padded, what is longer cut.

    Raises:
        InputError: a value that makes no sense, or no sound events.
    """

    what: ClassVar[str] = "Sound events in the prompt (cosine similarity)"

    bank: InitVar[str]
    num_keywords: int = 2
    beginning: str = "the sounds are "
    between: str = ", "
    ending: str = "."
    max_tokens: int = 20

    def __post_init__(self, bank: str) -> None:
        if min(self.num_keywords, self.max_tokens) < 1:
            raise InputError(
                f"expected num_keywords and max_tokens of at least 1, found {self.num_keywords} and {self.max_tokens}; "
                "correct them"
            )
        super().__post_init__(bank)
        self._embedded: Tensor | None = None  # the bank's embeddings (keywords, D), computed once

    @torch.no_grad()
    def tokens(self, clap: EmbeddingModel, embeddings: Tensor) -> Tensor:
        """See `contracts.HardPrompt`. A caption's prompt does not depend on the others: all have the same length."""
        with torch.autocast(embeddings.device.type, enabled=False):  # half precision makes ties of near words
            if self._embedded is None:
                self._embedded = clap.embed_text(self.keywords)
            bank = self._embedded.to(embeddings.device).float()
            texts = self.prompts(lambda _: bank, embeddings.float())
        fixed = {"padding": "max_length", "truncation": True, "max_length": self.max_tokens}
        tokens: Tensor = clap.tokenizer(texts, add_special_tokens=False, return_tensors="pt", **fixed)["input_ids"]
        return tokens.to(embeddings.device)
