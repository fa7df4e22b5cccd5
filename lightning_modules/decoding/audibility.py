"""Audibility guidance: a frozen language model says what a matcher and a classifier of texts want (Eq. 1 to 4).

Text is discrete, so Eq. 1 and 2 are realised as their authors do: of the likeliest next tokens each is scored by the
matcher and the classifier without gradient, the softmax of the scores is a target distribution, and the cross-entropy
to it reaches the language model's keys and values. Both terms act through this one distribution, and the fluency term
(Eq. 3) is KL(p || p_0), which differs from the paper's cross-entropy by the entropy of p.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.decoding.causal_lm import CausalLm, stacked
from lightning_modules.decoding.prompt import PROMPT

TextFunction = Callable[[list[str]], Tensor]
FORBIDDEN = "0123456789,()!:\n"


@dataclass
class _Rows:
    """What is being said: R = clips x beams rows, L tokens each, the prompt among them."""

    tokens: Tensor  # (R, L)
    memory: Tensor  # (layers, 2, R, heads, L - 1, width of a head)
    clips: Tensor  # (R,), the clip of each row
    score: Tensor  # (R,), sum of log-probabilities
    said: Tensor  # (R,), tokens that it is the sum of
    stopped: Tensor  # (R,), bool

    def take(self, index: Tensor) -> "_Rows":
        return _Rows(
            self.tokens[index], self.memory[:, :, index], self.clips[index], self.score[index], self.said[index],
            self.stopped[index],
        )  # fmt: skip


class AudibilityGuidance(nn.Module):
    """Captions clips with a language model that is steered anew at each token.

    Args:
        prompt: what every text begins with (`decoding.prompt`).
        max_new_tokens: of a caption; it ends before at a full stop.
        num_steps: gradient steps a token, on a shift of all keys and values that begins at zero. Theirs: 3 (of
            the paper's model with 24 layers; few layers need more).
        step_size: of the shift.
        norm_exponent: the gradient of each layer's keys, and values, of each clip is divided by its norm to this.
        num_candidates: K, the likeliest next tokens that are scored.
        temperature: of the target distribution.
        lambda_0: weight of the fluency term.
        lambda_1: weight of the cross-entropy to the target distribution.
        lambda_2: weight of the classifier's probability beside the cosine, in a candidate's score.
        fusion: the exponent of the guided probability; that of the unguided one is 1 - fusion.
        forbidden_factor: makes tokens with a digit or one of , ( ) ! : or a line break less likely.
        first_end_factor: makes a full stop less likely as the first token.
        end_factor: makes it likelier later. Candidates are chosen without these three; 1 turns one off.
        num_beams: more than one keeps the best by mean log-probability; the matcher chooses in the end.

    Raises:
        InputError: a value that makes no sense.
    """

    def __init__(
        self,
        prompt: str = PROMPT,
        max_new_tokens: int = 8,
        num_steps: int = 3,
        step_size: float = 0.3,
        norm_exponent: float = 0.9,
        num_candidates: int = 512,
        temperature: float = 0.01,
        lambda_0: float = 0.2,
        lambda_1: float = 1.0,
        lambda_2: float = 0.015,
        fusion: float = 0.99,
        forbidden_factor: float = 20.0,
        first_end_factor: float = 1.6,
        end_factor: float = 1.01,
        num_beams: int = 1,
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.num_steps = num_steps
        self.step_size = step_size
        self.norm_exponent = norm_exponent
        self.num_candidates = num_candidates
        self.temperature = temperature
        self.lambda_0 = lambda_0
        self.lambda_1 = lambda_1
        self.lambda_2 = lambda_2
        self.fusion = fusion
        self.forbidden_factor = forbidden_factor
        self.first_end_factor = first_end_factor
        self.end_factor = end_factor
        self.num_beams = num_beams
        wrong = [f"{name} of at least 1" for name in ("max_new_tokens", "num_candidates", "num_beams")
                 if getattr(self, name) < 1]  # fmt: skip
        wrong += [f"{name} above 0" for name in ("temperature", "forbidden_factor", "first_end_factor", "end_factor")
                  if not getattr(self, name) > 0]  # fmt: skip
        wrong += [f"{name} of at least 0" for name in
                  ("num_steps", "step_size", "norm_exponent", "lambda_0", "lambda_1", "lambda_2")
                  if not getattr(self, name) >= 0]  # fmt: skip
        wrong += ["fusion from 0 to 1"] * (not 0 <= fusion <= 1) + ["a prompt"] * (not prompt.strip())
        if wrong:
            raise InputError(f"expected {', '.join(wrong)} in guidance, found other values; correct them")
        self._ids: tuple[CausalLm, Tensor, int] | None = None

    @property
    def needs_classifier(self) -> bool:
        """Whether `audible` is asked."""
        return self.lambda_2 > 0

    def forward(self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor) -> list[str]:
        """Caption B clips, each as if it were alone.

        Args:
            lm: whose parameters do not require gradients.
            match: N texts to their embeddings (N, D), of norm 1.
            audible: N texts to the probabilities (N,) that they are audible; may be None where lambda_2 is 0.
            audio: embeddings of the sounds, (B, D), of norm 1.

        Returns:
            B captions, without the prompt.
        """
        beginning = lm.encode(self.prompt)
        lm.check_room(len(beginning) + self.max_new_tokens)
        forbidden, end = self._special(lm)
        number = len(audio)
        tokens = beginning.expand(number, -1)  # (B, L)
        each = torch.arange(number, device=audio.device)
        rows = _Rows(
            tokens, lm.remember(tokens[:, :-1]), each, torch.zeros(number, device=audio.device),
            torch.zeros(number, device=audio.device), torch.zeros_like(each, dtype=torch.bool),
        )  # fmt: skip
        done: dict[int, list[list[int]]] = {clip: [] for clip in range(number)}
        for position in range(self.max_new_tokens):
            log_p, memory = self._next(lm, rows, match, audible, audio, forbidden, end, position)
            rows.memory = memory
            rows = self._choose(rows, log_p, end)
            going = torch.zeros(number, device=audio.device).index_add(0, rows.clips, (~rows.stopped).float())
            over = going[rows.clips] == 0  # all beams of the clip have stopped
            last = over | (position == self.max_new_tokens - 1)
            for clip, said in zip(rows.clips[last].tolist(), rows.tokens[last, len(beginning) :].tolist()):
                done[clip].append(said)
            if bool(over.all()):
                break
            rows = rows.take((~over).nonzero()[:, 0])
        return self._best(lm, match, audio, done, end)

    def _special(self, lm: CausalLm) -> tuple[Tensor, int]:
        if self._ids is None or self._ids[0] is not lm:
            forbidden = torch.tensor(lm.ids_with(FORBIDDEN), dtype=torch.long, device=lm.model.device)
            self._ids = (lm, forbidden, lm.token_id("."))
        return self._ids[1:]

    def _next(
        self, lm: CausalLm, rows: _Rows, match: TextFunction, audible: TextFunction | None, audio: Tensor,
        forbidden: Tensor, end: int, position: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Log-probabilities (R, vocabulary) of the next token, and the unshifted memory with the last one."""
        last = rows.tokens[:, -1]
        with torch.no_grad():
            logits, cache = lm.step(last, rows.memory)
            memory = stacked(cache)  # one token longer
            unguided = logits.log_softmax(-1)  # (R, V)
        if self.num_steps:
            scores = _Scores(self, lm, rows, match, audible, audio[rows.clips])
            shift = self._shift(lm, rows, unguided, scores)
            with torch.no_grad():
                logits, _ = lm.step(last, rows.memory + shift)
        guided = self.bias(logits, forbidden, end, position).log_softmax(-1)
        return (self.fusion * guided + (1 - self.fusion) * unguided).log_softmax(-1), memory

    def _shift(self, lm: CausalLm, rows: _Rows, unguided: Tensor, scores: "_Scores") -> Tensor:
        """Gradient steps on Eq. 4; (layers, 2, R, heads, L - 1, width of a head)."""
        shift = torch.zeros_like(rows.memory)
        for _ in range(self.num_steps):
            shift.requires_grad_(True)
            with torch.enable_grad():
                logits, _ = lm.step(rows.tokens[:, -1], rows.memory + shift)
                log_p = logits.log_softmax(-1)  # (R, V)
                candidates = log_p.detach().topk(min(self.num_candidates, log_p.shape[-1])).indices  # (R, K)
                target = (scores(candidates) / self.temperature).softmax(-1)  # (R, K)
                loss = self.lambda_0 * (log_p.exp() * (log_p - unguided)).sum()
                loss = loss - self.lambda_1 * (target * log_p.gather(1, candidates)).sum()
                (gradient,) = torch.autograd.grad(loss, shift)
            # one norm for each layer, keys or values, and row: rows do not touch one another
            norm = gradient.square().sum((-3, -2, -1), keepdim=True).sqrt() + 1e-15
            shift = shift.detach() - self.step_size * gradient / norm**self.norm_exponent
        return shift

    def bias(self, logits: Tensor, forbidden: Tensor, end: int, position: int) -> Tensor:
        """Logits (R, V) with forbidden tokens damped, and the full stop damped at first and raised later."""
        logits = logits.clone()
        logits[:, forbidden] = damped(logits[:, forbidden], self.forbidden_factor)
        factor = self.first_end_factor if position == 0 else 1 / self.end_factor
        logits[:, end] = damped(logits[:, end], factor)
        return logits

    def _choose(self, rows: _Rows, log_p: Tensor, end: int) -> _Rows:
        """The best rows with one more token, `num_beams` a clip."""
        log_p = log_p.masked_fill(rows.stopped[:, None], -torch.inf)
        log_p[rows.stopped, end] = 0.0  # a row that stopped goes on with itself
        said = rows.said + (~rows.stopped).float()
        total = rows.score[:, None] + log_p  # (R, V)
        clips, counts = rows.clips.unique_consecutive(return_counts=True)
        width = int(counts[0])  # rows of a clip: 1 at first, then num_beams
        mean = (total / said[:, None]).view(len(clips), -1)  # (clips, width V)
        best = mean.topk(min(self.num_beams, log_p.shape[1])).indices  # (clips, beams)
        source = (best // log_p.shape[1] + torch.arange(len(clips), device=best.device)[:, None] * width).flatten()
        token = (best % log_p.shape[1]).flatten()
        chosen = rows.take(source)
        chosen.tokens = torch.cat((chosen.tokens, token[:, None]), 1)
        chosen.score, chosen.said = total[source, token], said[source]
        chosen.stopped = chosen.stopped | (token == end)
        return chosen

    def _best(
        self, lm: CausalLm, match: TextFunction, audio: Tensor, done: dict[int, list[list[int]]], end: int
    ) -> list[str]:
        """Of each clip's beams, the one nearest to its sound, scored without the prompt."""
        said = [tokens for beams in done.values() for tokens in beams]
        texts = [text.strip() for text in lm.decode([row[: row.index(end) + 1] if end in row else row for row in said])]
        width = len(texts) // len(done)  # beams of a clip, equally many for all
        if width == 1:
            return texts
        cosine = (match(texts).unflatten(0, (-1, width)) * audio[list(done), None]).sum(-1)  # (clips, beams)
        return [texts[clip * width + best] for clip, best in enumerate(cosine.argmax(1).tolist())]


class _Scores:
    """Scores of candidates at one position: each is computed once, however many gradient steps name it."""

    def __init__(
        self, guidance: AudibilityGuidance, lm: CausalLm, rows: _Rows, match: TextFunction,
        audible: TextFunction | None, audio: Tensor,
    ) -> None:  # fmt: skip
        self.lambda_2 = guidance.lambda_2
        self.lm, self.match, self.audible, self.audio = lm, match, audible, audio
        self.said = rows.tokens[:, 1:].tolist()  # with the prompt
        vocabulary = lm.model.config.vocab_size
        self.values = torch.zeros(len(audio), vocabulary, device=audio.device)
        self.known = torch.zeros_like(self.values, dtype=torch.bool)

    @torch.no_grad()
    def __call__(self, candidates: Tensor) -> Tensor:
        """cos(text, sound) + lambda_2 h_a(text) of each row's candidates, both (R, K)."""
        row, place = (~self.known.gather(1, candidates)).nonzero(as_tuple=True)
        if len(row):
            token = candidates[row, place]
            said = [[*self.said[r], t] for r, t in zip(row.tolist(), token.tolist())]
            texts = self.lm.decode(said)
            value = (self.match(texts) * self.audio[row]).sum(-1).float()
            if self.lambda_2 and self.audible is not None:
                value = value + self.lambda_2 * self.audible(texts)
            self.values[row, token] = value
            self.known[row, token] = True
        return self.values.gather(1, candidates)


def damped(logits: Tensor, factor: float) -> Tensor:
    """Less likely by a factor > 1, whatever the sign: positive logits are divided, negative ones multiplied."""
    return torch.where(logits > 0, logits / factor, logits * factor)
