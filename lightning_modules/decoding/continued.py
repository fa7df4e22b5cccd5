"""Proposals for MILS by a language model that follows no instructions: it goes on with beginnings of descriptions."""

import hashlib
from dataclasses import dataclass

import torch

from lightning_modules.contracts import Sampling
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.prompt import PROMPT, prompted
from lightning_modules.seeded_sampling import sampled


@dataclass
class Continued:
    """Cuts the best descriptions at random words and samples how they could go on.

    It sees the scores only by the order of the descriptions and by which are given: a stand-in for `Instructed`, of no
    paper, for models as small as the miniature's. Where there are no descriptions yet, all is sampled.

    Args:
        prompt: stands before each description for the language model.
        max_new_tokens: longest continuation; it also ends at a full stop.
        temperature: of the sampling.
        top_p: samples among the likeliest tokens that together have this probability.
        seed: of where descriptions are cut and of the sampling.
    """

    prompt: str = PROMPT
    max_new_tokens: int = 12
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def propose(self, lm: CausalLm, scored: list[list[tuple[str, float]]], number: int, round: int) -> list[list[str]]:
        """See `contracts.Proposer`; each of the given descriptions is the beginning of as many as any other."""
        beginnings, ids = [], []
        for of_clip in scored:
            texts = [text for text, _ in of_clip] or [""]
            name = f"{round} {texts}"
            digest = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=7).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
            for sample in range(number):
                words = texts[sample % len(texts)].split()
                cut = int(torch.randint(max(1, len(words)), (), generator=generator))
                beginnings.append(" ".join(words[:cut]))
                ids.append(f"{name} {sample}")
        prompts = [lm.encode(prompted(beginning, self.prompt)) for beginning in beginnings]
        lm.check_room(max(map(len, prompts)) + self.max_new_tokens)
        processors = sampled(Sampling(self.temperature, self.top_p, self.seed), ids)
        rests = lm.sample(prompts, processors, self.max_new_tokens)
        made = [" ".join(f"{a}{b.partition('.')[0]}".split()) for a, b in zip(beginnings, rests)]
        return [[text for text in made[at : at + number] if text] for at in range(0, len(made), number)]
