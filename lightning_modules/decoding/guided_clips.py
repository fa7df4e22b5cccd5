"""Clips as a guidance gets them, captioned by each means that it has."""

from dataclasses import dataclass

from torch import Tensor

from earshot.errors import InputError
from lightning_modules.contracts import Sampling
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.contracts import Guidance, RanksCaptions, TextFunction


@dataclass
class GuidedClips:
    """B clips whose audio is embedded (`contracts.ReadyClips`).

    Args:
        guidance: captions them.
        lm: the language model.
        match: texts to embeddings (N, D).
        audible: texts to the probability (N,) that they are audible; None where there is no classifier.
        audio: embeddings (B, D).
    """

    guidance: Guidance
    lm: CausalLm
    match: TextFunction
    audible: TextFunction | None
    audio: Tensor

    def beams(self, number: int) -> list[list[tuple[str, float]]]:
        """At most `number` captions of each by a guidance that finds several; one is its caption, of score 0."""
        if number == 1 or not isinstance(self.guidance, RanksCaptions):
            return [[(text, 0.0)] for text in self.guidance(self.lm, self.match, self.audible, self.audio)]
        return self.guidance.candidates(self.lm, self.match, self.audible, self.audio, number)

    def samples(self, number: int, sampling: Sampling) -> list[list[str]]:
        """None: a guidance takes the best of the tokens that it scores.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"expected no samples of {type(self.guidance).__name__}, which takes the best of the tokens that it "
            f"scores, found {number}; set model.refine.init_args.samples to 0, and widths as its beams"
        )
