"""Captions by DRCap's language model, as texts."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_modules.contracts import Sampling
from lightning_modules.networks.prompted_lm import PromptedLm
from lightning_modules.seeded_sampling import sample_ids, sampled


@dataclass
class PromptedCaptions:
    """B embeddings with similar captions, ready to be captioned (`contracts.ReadyClips`).

    Args:
        language_model: captions them.
        embeddings: (B, D), as it takes them.
        similar: of each the captions in its prompt.
        max_new_tokens: longest caption.
        num_beams: of the caption that is made by default.
        clip_ids: B ids, which samples are seeded by.
    """

    language_model: PromptedLm
    embeddings: Tensor
    similar: list[list[str]]
    max_new_tokens: int
    num_beams: int
    clip_ids: Sequence[str] = ()

    def captions(self) -> list[str]:
        """The best caption of the beam search of each."""
        return [best[0][0] for best in self._search(self.num_beams, 1)]

    def beams(self, number: int) -> list[list[tuple[str, float]]]:
        """The `number` captions of a beam search for each, the best first, with the mean log-likelihood of their
        tokens; one is that of `captions`, and its score is 0."""
        return self._search(number, number) if number > 1 else [[(caption, 0.0)] for caption in self.captions()]

    def samples(self, number: int, sampling: Sampling) -> list[list[str]]:
        """`number` sampled captions of each."""
        embeddings = self.embeddings.repeat_interleave(number, 0)  # (B * number, D)
        similar = [found for found in self.similar for _ in range(number)]
        processors = sampled(sampling, sample_ids(self.clip_ids, number))
        found = self.language_model.generate(embeddings, similar, self.max_new_tokens, processors=processors)
        return [[best[0][0] for best in found[row : row + number]] for row in range(0, len(found), number)]

    def _search(self, num_beams: int, returned: int) -> list[list[tuple[str, float]]]:
        return self.language_model.generate(self.embeddings, self.similar, self.max_new_tokens, num_beams, returned)
