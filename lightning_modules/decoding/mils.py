"""MILS: a language model rewrites descriptions, a matcher scores them, again and again (Ashutosh et al., 2025).

Paper: arXiv 2501.18096. Its text was not available to us; what is here follows the authors' code
(facebookresearch/MILS: main_audio_captioning.py, optimization_utils/), whose values are the defaults. No gradients.
"""

from dataclasses import InitVar, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.contracts import Proposer, TextFunction

Scored = list[tuple[str, float]]  # descriptions with their cosines, the highest first


@dataclass(eq=False)  # torch hashes modules by identity
class Mils(nn.Module):
    """Captions clips by the description that scores highest after some rounds of proposals.

    A bank of descriptions, the same for all clips, is scored first. In each round the proposer gets the best of all so
    far with their scores, and its new descriptions are scored beside them. The best one never gets worse.

    Args:
        proposer: has the language model write new descriptions.
        bank: text file of descriptions, one a line; the authors' has 50,000. None has the proposer write them.
        num_initial: how many it writes then; no source, as the authors' are ready. One answer has them all: 150 lines
            of 20 tokens are the 3,000 that `Instructed` lets it write.
        iterations: rounds; the authors' 19 for audio.
        num_kept: how many descriptions the proposer is given; the authors' 10 for audio.
        num_requested: how many new ones it is asked for; the authors' 50.

    Raises:
        InputError: a value that makes no sense, or no descriptions in the bank, or in what is written for it.
    """

    needs_classifier = False
    prompt = None  # descriptions stand alone

    proposer: Proposer
    bank: InitVar[str | None] = None
    num_initial: int = 150
    iterations: int = 19
    num_kept: int = 10
    num_requested: int = 50

    def __post_init__(self, bank: str | None) -> None:
        super().__init__()
        if min(self.num_initial, self.num_kept, self.num_requested) < 1 or self.iterations < 0:
            raise InputError(
                "expected num_initial, num_kept and num_requested of at least 1 and iterations of at least 0, found "
                f"{self.num_initial}, {self.num_kept}, {self.num_requested} and {self.iterations}; correct them"
            )
        self.initial = None if bank is None else read_descriptions(bank)
        self._embedded: Tensor | None = None  # the bank's, once for all clips
        self._last: tuple[Tensor | None, list[list[Scored]]] = (None, [])  # clips, and their rounds

    @torch.no_grad()
    def forward(self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor) -> list[str]:
        """Caption B clips, each as if it were alone; see `contracts.Guidance`. `audible` is not asked."""
        return [pool[0][0] for pool in self._rounds(lm, match, audio)[-1]]

    @torch.no_grad()
    def candidates(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, number: int
    ) -> list[Scored]:
        """See `contracts.RanksCaptions`: the best descriptions of the last round, by their cosine with the audio."""
        return [pool[:number] for pool in self._rounds(lm, match, audio)[-1]]

    @torch.no_grad()
    def rounds(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor
    ) -> list[list[tuple[str, float]]]:
        """See `contracts.TellsRounds`; the first is the best of the bank."""
        return [[pool[0] for pool in of_clip] for of_clip in zip(*self._rounds(lm, match, audio))]

    def _rounds(self, lm: CausalLm, match: TextFunction, audio: Tensor) -> list[list[Scored]]:
        """The descriptions of B clips that compete after each round, the bank's `num_kept` best first.

        Asked again for the same embeddings, as by searches of several widths, it tells what it found.
        """
        if self._last[0] is audio:
            return self._last[1]
        bank = self._bank(lm, match)
        best = (audio @ bank.to(audio).T).topk(min(self.num_kept, len(bank)))  # (B, kept)
        texts = self.initial or []
        pools = [
            [(texts[i], value) for i, value in zip(*row)] for row in zip(best.indices.tolist(), best.values.tolist())
        ]
        found = [pools]
        for number in range(self.iterations):
            kept = [pool[: self.num_kept] for pool in pools]
            proposed = self.proposer.propose(lm, kept, self.num_requested, number + 1)
            pools = self._ranked(match, kept, proposed, audio)
            found.append(pools)
        self._last = audio, found
        return found

    def _bank(self, lm: CausalLm, match: TextFunction) -> Tensor:
        """The embeddings (N, D) of the bank, which the proposer writes where there is none."""
        if self.initial is None:
            (written,) = self.proposer.propose(lm, [[]], self.num_initial, 0)
            if not written:
                raise InputError(
                    "expected descriptions of the language model, found none that could be read in its answer; give "
                    "model.guidance.bank a file, or take another language model or instruction"
                )
            self.initial = list(dict.fromkeys(written))
        if self._embedded is None:
            self._embedded = match(self.initial).cpu()
        return self._embedded

    def _ranked(
        self, match: TextFunction, kept: list[Scored], proposed: list[list[str]], audio: Tensor
    ) -> list[Scored]:
        """The kept descriptions and the new ones of each of B clips, whose audio embeddings are (B, D).

        The new ones of all clips are embedded in one call.
        """
        pools = [dict(of_clip) for of_clip in kept]
        new = [(clip, text) for clip, some in enumerate(proposed) for text in some if text not in pools[clip]]
        if new:
            clips, texts = zip(*dict.fromkeys(new))
            cosines = (match(list(texts)) * audio[list(clips)]).sum(-1).tolist()  # one for each text of each clip
            for clip, text, cosine in zip(clips, texts, cosines):
                pools[clip][text] = cosine
        return [sorted(pool.items(), key=lambda pair: -pair[1]) for pool in pools]


def read_descriptions(path: str) -> list[str]:
    """The lines of a text file, each once, without empty ones.

    Raises:
        InputError: no such file, or none in it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected descriptions in {path}, one a line, as UTF-8 text, found: {error}; correct the file, get the "
            "authors' from github.com/facebookresearch/MILS, init_descriptions/, or set guidance.bank to null"
        ) from None
    if not (found := list(dict.fromkeys(line.strip() for line in lines if line.strip()))):
        raise InputError(f"expected descriptions in {path}, found none; write one a line")
    return found
