"""MILS's proposals by a language model that follows instructions, such as Llama 3.1 8B Instruct."""

import re
from dataclasses import InitVar, dataclass
from pathlib import Path

from torch import Tensor

from earshot.errors import InputError
from lightning_modules.contracts import Sampling
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.seeded_sampling import sampled

INSTRUCTION = """Below is a list of short descriptions of one sound, each after its score. The higher the score, the \
better the description fits the sound:

{descriptions}

Write {requested_number} more short descriptions that could score higher and that say all that is heard. Say what sets \
this sound apart. You may bring in something new, join parts of several descriptions, say one in other words, leave \
something out or make it simpler. Be bold: a wrong guess does no harm. Write each on a line of its own behind its \
number, such as "1. ...", with fewer than 20 words."""


@dataclass
class Instructed:
    """Asks for new descriptions in one turn of a chat, and reads the numbered lines of the answer.

    Args:
        instruction: text file of the turn, with {descriptions} and {requested_number} in it, such as the authors'
            prompts/audio_captioning_shorter.txt; None takes a text of ours that asks for the same.
        max_new_tokens: longest answer; the authors' 3000.
        temperature: of the sampling; the authors' 0.5.
        top_p: likewise; the authors' 0.9.
        seed: of the sampling; the authors' 2024. A clip's answers depend on it, the round and the clip's descriptions.

    Raises:
        InputError: an instruction without these places, or no such file.
    """

    instruction: InitVar[str | None] = None
    max_new_tokens: int = 3000
    temperature: float = 0.5
    top_p: float = 0.9
    seed: int = 2024

    def __post_init__(self, instruction: str | None) -> None:
        try:
            self.text = INSTRUCTION if instruction is None else Path(instruction).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise InputError(
                f"expected an instruction, as UTF-8, in {instruction}, found: {error}; correct it"
            ) from None
        if missing := [place for place in ("{descriptions}", "{requested_number}") if place not in self.text]:
            raise InputError(f"expected {' and '.join(missing)} in {instruction}, found none; add it")

    def propose(self, lm: CausalLm, scored: list[list[tuple[str, float]]], number: int, round: int) -> list[list[str]]:
        """See `contracts.Proposer`; fewer than `number` where the answer has fewer."""
        turns = [self._turn(of_clip, number) for of_clip in scored]
        prompts = [self._tokens(lm, turn) for turn in turns]
        lm.check_room(max(map(len, prompts)) + self.max_new_tokens)
        sampling = Sampling(self.temperature, self.top_p, self.seed)
        processors = sampled(sampling, [f"{round} {turn}" for turn in turns])
        return [numbered_lines(answer) for answer in lm.sample(prompts, processors, self.max_new_tokens)]

    def _turn(self, scored: list[tuple[str, float]], number: int) -> str:
        lines = "".join(f"{score:.3f}: {text}\n" for text, score in scored)
        return self.text.replace("{descriptions}", lines).replace("{requested_number}", str(number))

    def _tokens(self, lm: CausalLm, turn: str) -> Tensor:
        if getattr(lm.tokenizer, "chat_template", None) is None:
            raise InputError(
                "expected a language model that is tuned to follow instructions, found a tokenizer without a chat "
                "template; name another as model.language_model, or take the proposer Continued"
            )
        messages = [{"role": "user", "content": turn}]
        text = lm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return lm.encode_whole(text)


def numbered_lines(answer: str) -> list[str]:
    """The texts behind the numbers of an answer's lines, each once, up to a bracket and without exclamation marks."""
    found = re.findall(r"^\s*\d{1,3}\. (.+)$", answer, re.MULTILINE)
    texts = (line.partition("(")[0].replace("!", "").strip() for line in found)
    return list(dict.fromkeys(text for text in texts if text))
