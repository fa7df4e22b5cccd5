"""Captions of embeddings by WSAC's decoder, as texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_modules.contracts import Sampling
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from lightning_modules.seeded_sampling import sample_ids, sampled

Ranked = list[list[tuple[str, float]]]
"""Captions of each clip with their scores, the best first."""


@dataclass
class PrefixCaptions:
    """B embeddings that are ready to be decoded (`contracts.ReadyClips`).

    Args:
        decoder: decodes them.
        tokenizer: of the decoder.
        embeddings: (B, D), as the decoder takes them.
        max_new_tokens: longest caption.
        clip_ids: B ids, which samples are seeded by.
        prompts: tokens (B, P) that the decoder reads after the prefix; None where it reads none.
    """

    decoder: PrefixDecoder
    tokenizer: Any
    embeddings: Tensor
    max_new_tokens: int
    clip_ids: Sequence[str] = ()
    prompts: Tensor | None = None

    def captions(self) -> list[str]:
        """The greedy caption of each."""
        return self._texts(self.decoder.generate(self.embeddings, self.max_new_tokens, self.prompts))

    def beams(self, number: int) -> list[list[tuple[str, float]]]:
        """The `number` captions of a beam search for each, the best first, with the mean log-likelihood of their
        tokens; one is greedy, and its score is 0."""
        if number == 1:
            return [[(caption, 0.0)] for caption in self.captions()]
        tokens, scores = self.decoder.candidates(self.embeddings, number, self.max_new_tokens, self.prompts)
        pairs = list(zip(self._texts(tokens), scores.tolist()))
        return [pairs[row : row + number] for row in range(0, len(pairs), number)]

    def samples(self, number: int, sampling: Sampling) -> list[list[str]]:
        """`number` sampled captions of each."""
        processors = sampled(sampling, sample_ids(self.clip_ids, number))
        embeddings = self.embeddings.repeat_interleave(number, 0)  # (B * number, D)
        prompts = None if self.prompts is None else self.prompts.repeat_interleave(number, 0)
        texts = self._texts(self.decoder.sample(embeddings, processors, self.max_new_tokens, prompts))
        return [texts[row : row + number] for row in range(0, len(texts), number)]

    def _texts(self, tokens: Tensor) -> list[str]:
        return [text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
