"""How well the candidates for the next token match the audio, and how audible they are (Eq. 1 and 2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.contracts import TextFunction


@dataclass
class CandidateScores:
    """Scores of candidates at one position; each is computed once for all gradient steps.

    Args:
        lambda_2: weight of the classifier's probability.
        lm: decodes tokens.
        tokens: (R, L), the prompt included.
        match: texts to embeddings.
        audible: texts to the probability that they are audible.
        audio: embeddings (R, D).
    """

    lambda_2: float
    lm: CausalLm
    tokens: Tensor
    match: TextFunction
    audible: TextFunction | None
    audio: Tensor

    def __post_init__(self) -> None:
        self.beginnings = self.tokens[:, 1:].tolist()  # without the first token, which is no text
        shape = len(self.audio), self.lm.model.config.vocab_size
        self.values = torch.zeros(shape, dtype=torch.float32, device=self.audio.device)
        self.known = torch.zeros_like(self.values, dtype=torch.bool)

    @torch.no_grad()
    def __call__(self, candidates: Tensor) -> Tensor:
        """cos(text, audio) + lambda_2 h_a(text) of each row's candidates; (R, K) to (R, K)."""
        row, place = (~self.known.gather(1, candidates)).nonzero(as_tuple=True)
        if len(row):
            token = candidates[row, place]
            texts = self.lm.decode([[*self.beginnings[r], t] for r, t in zip(row.tolist(), token.tolist())])
            value = (self.match(texts) * self.audio[row]).sum(-1).float()
            if self.lambda_2 and self.audible is not None:
                value = value + self.lambda_2 * self.audible(texts)
            self.values[row, token] = value
            self.known[row, token] = True
        return self.values.gather(1, candidates)
