"""Clips as LLaVA's embedded prompts, captioned by each means that it has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lightning_modules.contracts import Sampling
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.language_model import LlavaLanguageModel
from lightning_modules.seeded_sampling import sample_ids

ROWS = 64  # decoded at once: of 600 tokens in LLaVA-1.5-7B their keys and values take 20 GB in bfloat16


@dataclass
class PromptedClips:
    """B clips whose media and question are embedded (`contracts.ReadyClips`).

    Args:
        model: captions them.
        prompt: (B, L, width), of the model's `forward`.
        generation: how a caption is decoded by default; its longest caption is that of beams and samples, too.
        clip_ids: B ids, which samples are seeded by.
    """

    model: LlavaLanguageModel
    prompt: Tensor
    generation: Generation
    clip_ids: Sequence[str]

    def beams(self, number: int) -> list[list[tuple[str, float]]]:
        """The `number` captions of a beam search for each, the best first, with the mean log-likelihood of their
        tokens; one is by `generation`, and its score is 0."""
        if number == 1:
            captions = self.model.captions(self.prompt, self.generation, self.clip_ids)
            return [[(caption, 0.0)] for caption in captions]
        parts = (self.prompt[part] for part in self._parts(number))
        return [ranked for prompt in parts for ranked in self.model.candidates(prompt, number, self.generation)]

    def samples(self, number: int, sampling: Sampling) -> list[list[str]]:
        """`number` sampled captions of each."""
        how = replace(
            self.generation, num_beams=1, temperature=sampling.temperature, top_p=sampling.top_p, seed=sampling.seed
        )
        texts: list[str] = []
        for part in self._parts(number):
            prompt = self.prompt[part].repeat_interleave(number, 0)  # (rows, L, width)
            texts += self.model.captions(prompt, how, sample_ids(self.clip_ids[part], number))
        return [texts[row : row + number] for row in range(0, len(texts), number)]

    def _parts(self, number: int) -> Iterator[slice]:
        """The clips in parts that are decoded at once, with `number` rows of each."""
        clips = max(1, ROWS // number)
        return (slice(first, first + clips) for first in range(0, len(self.prompt), clips))
