"""How captions are decoded: what of transformers' `generate` is a setting here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import LogitsProcessorList

from earshot.errors import InputError
from lightning_modules.contracts import Sampling
from lightning_modules.seeded_sampling import sampled


@dataclass(frozen=True)
class Generation:
    """Greedy by default. The authors sample at temperature 0.2, up to 64 tokens in tests and 128 for pseudo-captions.

    Attributes:
        max_new_tokens: longest caption.
        num_beams: 1 is no beam search.
        temperature: 0 takes the likeliest token; above 0 samples.
        top_p: samples among the likeliest tokens that together have this probability.
        seed: of sampling; a clip's caption depends on this and its id, not on the other clips of its batch.
    """

    max_new_tokens: int = 64
    num_beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.num_beams < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise InputError(
                "expected max_new_tokens and num_beams of at least 1, temperature of at least 0 and top_p in (0, 1], "
                f"found {self}; correct model.captioner.generation"
            )
        if self.temperature and self.num_beams > 1:
            raise InputError(
                f"expected beams or sampling, found num_beams {self.num_beams} and temperature {self.temperature}; "
                "set one of them in model.captioner.generation"
            )

    def arguments(self, clip_ids: Sequence[str]) -> dict[str, Any]:
        """The arguments of transformers' `generate` for a batch of these clips."""
        sampling = Sampling(self.temperature, self.top_p, self.seed)
        return {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": False,
            "use_cache": True,
            "logits_processor": sampled(sampling, clip_ids) if self.temperature else LogitsProcessorList(),
        }
