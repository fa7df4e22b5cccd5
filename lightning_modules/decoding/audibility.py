"""Audibility guidance: a matcher and a text classifier steer a frozen language model (Eq. 1 to 4).

Text is discrete, so Eq. 1 and 2 are realised as the authors do: the matcher and the classifier score each of the
likeliest next tokens without gradient, the softmax of the scores is a target distribution, and the gradient of the
cross-entropy to it changes the language model's keys and values. Both terms act through this one distribution.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.decoding.candidate_scores import CandidateScores
from lightning_modules.decoding.causal_lm import CausalLm, stack_kv_cache
from lightning_modules.decoding.contracts import Choices, TextFunction
from lightning_modules.decoding.prompt import PROMPT

FORBIDDEN = "0123456789,()!:\n"
Fluency = Literal["cross_entropy", "kl"]
Forbidden = Literal["alone", "within"]


@dataclass
class _Rows:
    """Captions that are being decoded: R = clips x beams rows of L tokens each, the prompt included."""

    tokens: Tensor  # (R, L)
    kv_cache: Tensor  # (layers, 2, R, heads, L - 1, width of a head)
    clips: Tensor  # (R,), the clip of each row
    score: Tensor  # (R,), sum of log-probabilities
    length: Tensor  # (R,), the number of tokens in that sum
    stopped: Tensor  # (R,), bool
    choices: list[Choices] | None = None  # R, where they are told

    def take(self, index: Tensor) -> "_Rows":
        return _Rows(
            self.tokens[index], self.kv_cache[:, :, index], self.clips[index], self.score[index], self.length[index],
            self.stopped[index], self.choices and [self.choices[row] for row in index.tolist()],
        )  # fmt: skip


class _Beam(NamedTuple):
    """A caption without the prompt, the mean log-probability of its tokens, and what they were chosen from."""

    text: str
    score: float
    choices: Choices


class _Next(NamedTuple):
    """The next token of R rows."""

    log_p: Tensor  # (R, vocabulary), guided
    unguided: Tensor  # (R, vocabulary), the language model's own
    kv_cache: Tensor  # of all tokens so far, without the guidance's shift


@dataclass(eq=False)  # torch hashes modules by identity
class AudibilityGuidance(nn.Module):
    """Captions clips by a language model that is steered at every token.

    Args:
        prompt: what every text begins with (`decoding.prompt`).
        max_new_tokens: longest caption; it also ends at a full stop.
        num_steps: gradient steps for each token, on a shift of all keys and values that begins at zero. The authors'
            value, for 24 layers; a model with few layers needs more.
        step_size: of these gradient steps.
        norm_exponent: the gradient of each clip and layer, of keys and of values, is divided by its norm to this power.
        num_candidates: K, how many of the likeliest next tokens are scored.
        temperature: of the softmax that makes the target distribution.
        lambda_0: weight of the fluency term.
        lambda_1: weight of the cross-entropy to the target distribution.
        lambda_2: weight of the classifier's probability beside the cosine, in a candidate's score.
        fusion: exponent of the guided probability; the unguided probability has the exponent 1 - fusion.
        fluency: the term of Eq. 3 between the guided p and the unguided p_0: "cross_entropy" is the paper's,
            -sum p log p_0; "kl" the authors' code's, KL(p || p_0), which is smaller by the entropy of p.
        forbidden: which tokens `forbidden_factor` makes less likely: "alone", those that are a number or one of
            , ( ) ! : and a line break and nothing else, without a space before: the authors' 917 of GPT-2's;
            "within", all that have a digit or one of these signs somewhere, 1,980. The paper does not say.
        forbidden_factor: makes these tokens less likely.
        first_end_factor: makes a full stop less likely as the first token.
        end_factor: makes a full stop likelier later. These three factors do not change which candidates are scored;
            1 turns one off.
        num_beams: beams are kept by mean log-probability, and the matcher chooses among the finished ones.

    Raises:
        InputError: a value that makes no sense.
    """

    choice_scores: ClassVar[list[str]] = ["unguided probability", "score", "guided probability"]

    prompt: str = PROMPT
    max_new_tokens: int = 8
    num_steps: int = 3
    step_size: float = 0.3
    norm_exponent: float = 0.9
    num_candidates: int = 512
    temperature: float = 0.01
    lambda_0: float = 0.2
    lambda_1: float = 1.0
    lambda_2: float = 0.015
    fusion: float = 0.99
    fluency: Fluency = "cross_entropy"
    forbidden: Forbidden = "alone"
    forbidden_factor: float = 20.0
    first_end_factor: float = 1.6
    end_factor: float = 1.01
    num_beams: int = 1

    def __post_init__(self) -> None:
        super().__init__()
        at_least_1 = ("max_new_tokens", "num_candidates", "num_beams")
        above_0 = ("temperature", "forbidden_factor", "first_end_factor", "end_factor")
        at_least_0 = ("num_steps", "step_size", "norm_exponent", "lambda_0", "lambda_1", "lambda_2")
        wrong = [f"{name} of at least 1" for name in at_least_1 if getattr(self, name) < 1]
        wrong += [f"{name} above 0" for name in above_0 if not getattr(self, name) > 0]
        wrong += [f"{name} of at least 0" for name in at_least_0 if not getattr(self, name) >= 0]
        wrong += ["fluency of cross_entropy or kl"] * (self.fluency not in get_args(Fluency))
        wrong += ["forbidden of alone or within"] * (self.forbidden not in get_args(Forbidden))
        wrong += ["fusion from 0 to 1"] * (not 0 <= self.fusion <= 1) + ["a prompt"] * (not self.prompt.strip())
        if wrong:
            raise InputError(f"expected {', '.join(wrong)} in guidance, found other values; correct them")

    @property
    def needs_classifier(self) -> bool:
        """Whether `audible` is called."""
        return self.lambda_2 > 0

    def forward(self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor) -> list[str]:
        """Caption B clips, each as if it were alone; see `contracts.Guidance`."""
        return [caption for caption, _ in self._captions(lm, match, audible, audio)]

    def choices(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, number: int
    ) -> list[Choices]:
        """See `contracts.TellsChoices`; a candidate's score is cos(text, audio) + lambda_2 h_a(text)."""
        return [choices for _, choices in self._captions(lm, match, audible, audio, number)]

    def candidates(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, number: int
    ) -> list[list[tuple[str, float]]]:
        """See `contracts.RanksCaptions`: those of `number` beams, with the mean log-probability of their tokens."""
        beams = replace(self, num_beams=number)._beams(lm, match, audible, audio)
        return [[(beam.text, beam.score) for beam in sorted(of_clip, key=lambda b: -b.score)] for of_clip in beams]

    def _captions(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, told: int = 0
    ) -> list[tuple[str, Choices]]:
        """For each clip the beam that matches its audio best, without the prompt, and of each token its choice."""
        beams = self._beams(lm, match, audible, audio, told)
        width = len(beams[0]) if beams else 0  # equally many for all clips
        if width == 1:
            return [(beam.text, beam.choices) for (beam,) in beams]
        texts = [beam.text for of_clip in beams for beam in of_clip]
        cosine = (match(texts).unflatten(0, (-1, width)) * audio[:, None]).sum(-1)  # (clips, beams)
        best = [of_clip[place] for of_clip, place in zip(beams, cosine.argmax(1).tolist())]
        return [(beam.text, beam.choices) for beam in best]

    def _beams(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, told: int = 0
    ) -> list[list[_Beam]]:
        """The beams of each clip, and of each token its choice and `told` candidates; none of these where it is 0."""
        beginning = lm.encode(self.prompt)
        lm.check_room(len(beginning) + self.max_new_tokens)
        signs = lm.ids_of(FORBIDDEN) if self.forbidden == "alone" else lm.ids_with(FORBIDDEN)
        forbidden, end = torch.tensor(signs, device=audio.device).long(), lm.token_id(".")
        number = len(audio)
        tokens = beginning.expand(number, -1)  # (B, L)
        each = torch.arange(number, device=audio.device)
        rows = _Rows(
            tokens, lm.prefill(tokens[:, :-1]), each, torch.zeros(number, device=audio.device),
            torch.zeros(number, device=audio.device), torch.zeros_like(each, dtype=torch.bool),
            [[] for _ in audio] if told else None,
        )  # fmt: skip
        done: list[list[_Beam]] = [[] for _ in audio]  # of each clip
        for position in range(self.max_new_tokens):
            found = self._next(lm, rows, match, audible, audio, forbidden, end, position)
            rows.kv_cache = found.kv_cache
            stopped = rows.stopped
            rows, source = self._choose(rows, found.log_p, end)
            if rows.choices is not None:
                going_on = (~stopped[source]).nonzero()[:, 0]
                more = self._choices(lm, rows.take(going_on), found, source[going_on], match, audible, audio, told)
                for row, choice in zip(going_on.tolist(), more):
                    rows.choices[row] = [*rows.choices[row], choice]
            going = torch.zeros(number, device=audio.device).index_add(0, rows.clips, (~rows.stopped).float())
            over = going[rows.clips] == 0  # all beams of the clip have stopped
            last = over | (position == self.max_new_tokens - 1)
            ended = rows.take(last.nonzero()[:, 0])
            texts = self._texts(lm, ended.tokens[:, len(beginning) :].tolist(), end)
            means = (ended.score / ended.length).tolist()
            for clip, *beam in zip(ended.clips.tolist(), texts, means, ended.choices or [[] for _ in texts]):
                done[clip].append(_Beam(*beam))
            if bool(over.all()):
                break
            rows = rows.take((~over).nonzero()[:, 0])
        return done

    def _next(
        self, lm: CausalLm, rows: _Rows, match: TextFunction, audible: TextFunction | None, audio: Tensor,
        forbidden: Tensor, end: int, position: int,
    ) -> _Next:  # fmt: skip
        """Log-probabilities of the next token, and the KV cache with the last token."""
        last = rows.tokens[:, -1]
        with torch.no_grad():
            logits, cache = lm.step(last, rows.kv_cache)
            kv_cache = stack_kv_cache(cache)  # one token longer
            unguided = logits.log_softmax(-1)  # (R, V)
        if self.num_steps:
            scores = self.candidate_scores(lm, rows.tokens, match, audible, audio[rows.clips])
            shift = self._shift(lm, rows, unguided, scores)
            with torch.no_grad():
                logits, _ = lm.step(last, rows.kv_cache + shift)
        guided = self.bias(logits, forbidden, end, position).log_softmax(-1)
        return _Next((self.fusion * guided + (1 - self.fusion) * unguided).log_softmax(-1), unguided, kv_cache)

    @torch.no_grad()
    def _choices(
        self, lm: CausalLm, rows: _Rows, found: _Next, source: Tensor, match: TextFunction,
        audible: TextFunction | None, audio: Tensor, told: int,
    ) -> Choices:  # fmt: skip
        """What the last tokens of rows, which come from the rows `source` of `found`, were chosen from."""
        log_p, unguided = found.log_p[source], found.unguided[source]
        candidates = torch.cat((rows.tokens[:, -1:], log_p.topk(min(told, log_p.shape[1])).indices), 1)  # (R, 1 + told)
        scores = self.candidate_scores(lm, rows.tokens[:, :-1], match, audible, audio[rows.clips])(candidates)
        values = torch.stack(
            (unguided.gather(1, candidates).exp(), scores, log_p.gather(1, candidates).exp()), -1
        )  # (R, 1 + told, 3)
        each = [dict(zip(*row)) for row in zip(candidates.tolist(), values.tolist())]  # the chosen token once
        return [list(zip(lm.decode([[token] for token in row]), row.values())) for row in each]

    def candidate_scores(
        self, lm: CausalLm, tokens: Tensor, match: TextFunction, audible: TextFunction | None, audio: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """What scores the candidates (R, K) for the token after `tokens` (R, L), given the audio embeddings (R, D)."""
        return CandidateScores(self.lambda_2, lm, tokens, match, audible, audio)

    def _shift(self, lm: CausalLm, rows: _Rows, unguided: Tensor, scores: Callable[[Tensor], Tensor]) -> Tensor:
        """Gradient steps on Eq. 4; (layers, 2, R, heads, L - 1, width of a head)."""
        shift = torch.zeros_like(rows.kv_cache)
        for _ in range(self.num_steps):
            shift.requires_grad_(True)
            with torch.enable_grad():
                logits, _ = lm.step(rows.tokens[:, -1], rows.kv_cache + shift)
                log_p = logits.log_softmax(-1)  # (R, V)
                candidates = log_p.detach().topk(min(self.num_candidates, log_p.shape[-1])).indices  # (R, K)
                target = (scores(candidates) / self.temperature).softmax(-1)  # (R, K)
                own = log_p if self.fluency == "kl" else 0.0
                loss = self.lambda_0 * (log_p.exp() * (own - unguided)).sum()
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

    def _choose(self, rows: _Rows, log_p: Tensor, end: int) -> tuple[_Rows, Tensor]:
        """The best rows with one more token, `num_beams` a clip, and the rows (R,) that they come from."""
        log_p = log_p.masked_fill(rows.stopped[:, None], -torch.inf)
        log_p[rows.stopped, end] = 0.0  # a row that stopped goes on with itself
        length = rows.length + (~rows.stopped).float()
        total = rows.score[:, None] + log_p  # (R, V)
        clips, counts = rows.clips.unique_consecutive(return_counts=True)
        width = int(counts[0])  # rows of a clip: 1 at first, then num_beams
        mean = (total / length[:, None]).view(len(clips), -1)  # (clips, width V)
        best = mean.topk(min(self.num_beams, log_p.shape[1])).indices  # (clips, beams)
        source = (best // log_p.shape[1] + torch.arange(len(clips), device=best.device)[:, None] * width).flatten()
        token = (best % log_p.shape[1]).flatten()
        chosen = rows.take(source)
        chosen.tokens = torch.cat((chosen.tokens, token[:, None]), 1)
        chosen.score, chosen.length = total[source, token], length[source]
        chosen.stopped = chosen.stopped | (token == end)
        return chosen, source

    def _texts(self, lm: CausalLm, rows: list[list[int]], end: int) -> list[str]:
        """Rows of tokens without the prompt as captions, each up to its first full stop."""
        ended = [tokens[: tokens.index(end) + 1] if end in tokens else tokens for tokens in rows]
        return [text.strip() for text in lm.decode(ended)]


def damped(logits: Tensor, factor: float) -> Tensor:
    """Less likely by a factor > 1, whatever the sign: positive logits are divided, negative ones multiplied."""
    return torch.where(logits > 0, logits / factor, logits * factor)
