"""Sampling of captions that each clip repeats, whatever its batch, the number of devices, or a resume."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from lightning_modules.contracts import Sampling


def sampled(sampling: Sampling, clip_ids: Sequence[str]) -> LogitsProcessorList:
    """What makes transformers' greedy search sample: one processor for a batch of these clips."""
    processors = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(sampling.top_p))
    processors.append(SeededSampling(sampling.seed, clip_ids))
    return processors


def sample_ids(clip_ids: Sequence[str], number: int) -> list[str]:
    """What `number` samples of each clip are seeded by; those of a clip stand together."""
    return [f"{clip_id} {sample}" for clip_id in clip_ids for sample in range(number)]


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
        exact = torch.float32  # whatever the default is: in bfloat16 many tokens would get the same noise
        noise = [torch.empty(scores.shape[1], dtype=exact).exponential_(generator=one) for one in self.generators]
        return scores - torch.stack(noise).log().to(scores)  # -log of an exponential variable is a Gumbel one
