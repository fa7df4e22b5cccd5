"""How captions are decoded: what of transformers' `generate` is a setting here, and sampling that each clip repeats."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from earshot.errors import InputError


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
        processors = LogitsProcessorList()
        if self.temperature:
            processors.append(TemperatureLogitsWarper(self.temperature))
            if self.top_p < 1:
                processors.append(TopPLogitsWarper(self.top_p))
            processors.append(SeededSampling(self.seed, clip_ids))
        return {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": False,
            "use_cache": True,
            "logits_processor": processors,
        }


class SeededSampling(LogitsProcessor):
    """Sampling as taking the largest of logits with Gumbel noise, which is exact; the noise is each clip's own.

    Source: Gumbel (1954). transformers draws from one generator for the whole batch, so that a clip's caption would
    change with its batch-mates, with the number of ranks and after a resume.
    """

    def __init__(self, seed: int, clip_ids: Sequence[str]) -> None:
        digests = (hashlib.blake2b(f"{seed} {clip_id}".encode(), digest_size=7).digest() for clip_id in clip_ids)
        self.generators = [torch.Generator().manual_seed(int.from_bytes(digest, "big")) for digest in digests]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (B, V) to perturbed ones."""
        noise = [torch.empty(scores.shape[1]).exponential_(generator=generator) for generator in self.generators]
        return scores - torch.stack(noise).log().to(scores)  # -log of an exponential variable is a Gumbel one
