"""ZerAuCap: keywords for the audio in the prompt, and tokens re-ranked by the matcher (Salewski et al., 2023).

The degeneration penalty has weight 0 in all of their results and is left out. Their code also penalises punctuation,
but aligns the penalty with the wrong tokens; this is not reproduced.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.decoding.causal_lm import CausalLm, stack_kv_cache
from lightning_modules.decoding.contracts import Choices, TextFunction
from lightning_modules.decoding.keyword_prompt import KeywordPrompt

STOPS = (".", "!", "?")


@dataclass(eq=False)  # torch hashes modules by identity
class KeywordDecoding(KeywordPrompt):
    """Captions clips by a language model whose prompt names the keywords that match the audio best.

    Args:
        bank: text file of keywords, one a line, or AudioSet's table of classes (column display_name), or
            `hf://owner/name`, the names of the classes of a classifier on the Hugging Face Hub; commas also separate
            keywords.
        num_keywords: how many keywords go into the prompt, the best by cosine similarity.
        beginning: the prompt's text before the keywords.
        between: the prompt's text between two keywords.
        ending: the prompt's text after the keywords.
        num_candidates: K, how many of the likeliest next tokens are re-ranked.
        beta: weight of the matcher's softmax over the candidates, which is added to their probabilities.
        scale: factor of the cosine similarities before that softmax.
        max_new_tokens: longest caption; it also ends at one of . ! ?

    Raises:
        InputError: a value that makes no sense, or no keywords.
    """

    needs_classifier = False
    prompt = None  # each clip has its own
    choice_scores: ClassVar[list[str]] = ["probability", "cosine with audio", "combined"]

    num_candidates: int = 45
    beta: float = 0.5
    scale: float = 10.0
    max_new_tokens: int = 30

    def __post_init__(self, bank: str) -> None:
        if min(self.num_keywords, self.num_candidates, self.max_new_tokens) < 1 or min(self.beta, self.scale) < 0:
            raise InputError(
                "expected num_keywords, num_candidates and max_new_tokens of at least 1, beta and scale of at least 0, "
                f"found {self.num_keywords}, {self.num_candidates}, {self.max_new_tokens}, {self.beta} and "
                f"{self.scale}; correct them"
            )
        super().__post_init__(bank)
        self._last: tuple[Tensor | None, dict[int, list[str]]] = (None, {})  # clips, captions by number of keywords

    @torch.no_grad()
    def forward(self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor) -> list[str]:
        """Caption B clips, each as if it were alone; see `AudibilityGuidance`. `audible` is not asked."""
        return [caption for caption, _ in self._captions(lm, match, audio)]

    @torch.no_grad()
    def choices(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, number: int
    ) -> list[Choices]:
        """See `contracts.TellsChoices`; the sum of a candidate's probability and beta times the matcher's softmax."""
        return [choices for _, choices in self._captions(lm, match, audio, number)]

    @torch.no_grad()
    def candidates(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, number: int
    ) -> list[list[tuple[str, float]]]:
        """See `contracts.RanksCaptions`: the captions from 1 to `number` keywords, by their cosine with the audio.

        There is no beam search in the paper. A caption for its keywords, whose number varies, is what comes nearest.
        Asked again for the same embeddings, as by searches of several widths, it makes those captions that are new.
        """
        if self._last[0] is not audio:
            self._last = audio, {}
        made = self._last[1]
        counts = range(1, min(number, len(self.keywords)) + 1)
        for count in counts:
            if count not in made:
                made[count] = [caption for caption, _ in self._captions(lm, match, audio, number=count)]
        texts = list(zip(*(made[count] for count in counts)))  # (B, counts)
        embeddings = match([text for of_clip in texts for text in of_clip]).view(len(audio), len(counts), -1)
        cosines = (embeddings * audio[:, None]).sum(-1).tolist()  # (B, counts)
        return [sorted(zip(*each), key=lambda pair: -pair[1]) for each in zip(texts, cosines)]

    def _captions(
        self, lm: CausalLm, match: TextFunction, audio: Tensor, told: int = 0, number: int | None = None
    ) -> list[tuple[str, Choices]]:
        """Captions for `number` keywords, and of each token its choice and `told` candidates; none where it is 0."""
        prompts = [lm.encode(prompt) for prompt in self.prompts(match, audio, number)]
        lm.check_room(max(map(len, prompts)) + self.max_new_tokens)
        alike: dict[int, list[int]] = defaultdict(list)  # clips by the length of their prompts
        for clip, prompt in enumerate(prompts):
            alike[len(prompt)].append(clip)
        captions: dict[int, tuple[str, Choices]] = {}
        for clips in alike.values():
            continued = self._go_on(lm, match, torch.stack([prompts[clip] for clip in clips]), audio[clips], told)
            captions |= zip(clips, continued)
        return [captions[clip] for clip in range(len(audio))]

    def _go_on(
        self, lm: CausalLm, match: TextFunction, tokens: Tensor, audio: Tensor, told: int
    ) -> list[tuple[str, Choices]]:
        kv_cache, last = lm.prefill(tokens[:, :-1]), tokens[:, -1]
        tokens_of: list[list[int]] = [[] for _ in audio]  # of each caption so far
        captions = [""] * len(audio)
        choices: list[Choices] = [[] for _ in audio]
        going = list(range(len(audio)))
        for _ in range(self.max_new_tokens):
            logits, cache = lm.step(last, kv_cache)
            p, candidates = logits.softmax(-1).topk(min(self.num_candidates, logits.shape[-1]))  # (R, K)
            longer = [[*tokens_of[clip], t] for clip, row in zip(going, candidates.tolist()) for t in row]
            texts = lm.decode(longer)
            embeddings = match([text.strip() for text in texts]).view(*candidates.shape, -1)  # (R, K, D)
            cosine = (embeddings * audio[going, None]).sum(-1).float()
            score = p + self.beta * (self.scale * cosine).softmax(-1)
            chosen = score.argmax(-1)  # (R,)
            rows = []
            if told:
                best = score.topk(min(told + 1, score.shape[-1])).indices  # (R, 1 + told), the chosen one first
                values = torch.stack((p, cosine, score), -1).gather(1, best[..., None].expand(-1, -1, 3))
                for clip, told_of, numbers in zip(going, candidates.gather(1, best).tolist(), values.tolist()):
                    choices[clip].append(list(zip(lm.decode([[token] for token in told_of]), numbers)))
            for row, (clip, place) in enumerate(zip(going, chosen.tolist())):
                tokens_of[clip].append(int(candidates[row, place]))
                captions[clip] = texts[row * candidates.shape[1] + place].strip()
                if not captions[clip].endswith(STOPS) and tokens_of[clip][-1] != lm.tokenizer.eos_token_id:
                    rows.append(row)
            going = [going[row] for row in rows]
            if not going:
                break
            kv_cache, last = stack_kv_cache(cache)[:, :, rows], candidates.gather(1, chosen[:, None])[rows, 0]
        return list(zip(captions, choices))
