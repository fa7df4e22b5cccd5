"""Captions of embeddings by WSAC's decoder, as texts."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_modules.networks.prefix_decoder import PrefixDecoder


@dataclass
class PrefixCaptions:
    """B embeddings that are ready to be decoded.

    Args:
        decoder: decodes them.
        tokenizer: of the decoder.
        embeddings: (B, D), as the decoder takes them.
        max_new_tokens: longest caption.
    """

    decoder: PrefixDecoder
    tokenizer: Any
    embeddings: Tensor
    max_new_tokens: int

    def captions(self) -> list[str]:
        """The greedy caption of each."""
        return self._texts(self.decoder.generate(self.embeddings, self.max_new_tokens))

    def beams(self, number: int) -> list[list[tuple[str, float]]]:
        """The `number` (2 or more) captions of a beam search for each, the best first, with the mean log-likelihood of
        their tokens."""
        tokens, scores = self.decoder.candidates(self.embeddings, number, self.max_new_tokens)
        pairs = list(zip(self._texts(tokens), scores.tolist()))
        return [pairs[row : row + number] for row in range(0, len(pairs), number)]

    def _texts(self, tokens: Tensor) -> list[str]:
        return [text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
