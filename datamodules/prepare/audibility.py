"""Audible and inaudible sentences from a language model, by the paper's prompt (audibility guidance, section 3)."""

import json
import re
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from datamodules.sentence_datamodule import same
from earshot.atomic import write_text
from earshot.errors import InputError, require_folder

PROMPT = (
    "I want to train a classifier that distinguishes between an audio description that is more audible and not audible "
    "- two classes. generate examples for each category. You should consider factors such as the coherence of words, "
    "grammatical correctness, context, and the likelihood that the sentence represents a meaningful auditory scenario."
)
ASKED = {"audible": "Examples that are audible, one a line:", "inaudible": "Examples that are not audible, one a line:"}
NUMBERING = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s*")
FRUITLESS = 50  # batches in a row without a new sentence, after which generation stops


class SentenceWriter:
    """Asks a causal language model for audible and inaudible sentences until there are `count` different ones of each.

    Args:
        model: folder or hub id; a chat model is asked by its chat template.
        output: folder of audible.txt and inaudible.txt, and of what was generated so far.
        count: sentences of each kind.
        seed: decides with the number of a batch what is sampled, so that a killed run resumes without a difference.
        batch_size: answers sampled at once.
        max_new_tokens: longest answer, in tokens; shorter where the model has fewer positions.
        device: of the model, by default a GPU where there is one; devices sample different sentences.
    """

    def __init__(
        self,
        model: str,
        output: Path,
        count: int,
        seed: int = 0,
        batch_size: int = 16,
        max_new_tokens: int = 128,
        device: str | None = None,
    ) -> None:
        if min(count, batch_size, max_new_tokens) < 1:
            raise InputError(
                f"expected --count, --batch-size and --max-new-tokens of at least 1, found {count}, {batch_size} and "
                f"{max_new_tokens}; correct them"
            )
        require_folder(model, "a causal language model")
        try:
            self.model = AutoModelForCausalLM.from_pretrained(model, dtype="auto").eval()
            self.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.tokenizer = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()).split(". ")[0][:200]
            raise InputError(
                f"expected a causal language model in {model!r}, found none ({reason}); correct it"
            ) from None
        self.output, self.count, self.seed = output, count, seed
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.room: int = getattr(self.model.config, "max_position_embeddings", None) or 2**30
        self.made_by = {
            "model": str(model), "seed": seed, "batch_size": batch_size, "max_new_tokens": max_new_tokens,
            "prompt": PROMPT, "asked": ASKED,
        }  # fmt: skip

    def ask(self, kind: str) -> torch.Tensor:
        """The prompt's tokens (1, L), cut from the left to at most half of the model's positions."""
        text = f"{PROMPT}\n\n{ASKED[kind]}\n"
        if self.tokenizer.chat_template:
            turn = [{"role": "user", "content": text}]
            text = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        special = not self.tokenizer.chat_template  # which writes them itself
        encoded = self.tokenizer(text, return_tensors="pt", add_special_tokens=special, verbose=False)
        ids: torch.Tensor = encoded["input_ids"].to(self.model.device)
        return ids[:, -(self.room // 2) :]

    @torch.inference_mode()
    def batch(self, kind: str, number: int) -> list[str]:
        """The sentences of one batch of sampled answers."""
        torch.manual_seed(crc32(f"{self.seed} {kind} {number}".encode()))
        prompt = self.ask(kind)
        answers = self.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_p=0.95, temperature=1.0,
            num_return_sequences=self.batch_size,
            max_new_tokens=min(self.max_new_tokens, self.room - prompt.shape[1]),
            pad_token_id=self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None
            else self.tokenizer.eos_token_id,
        )  # fmt: skip
        texts = self.tokenizer.batch_decode(answers[:, prompt.shape[1] :], skip_special_tokens=True)
        return [sentence for text in texts for sentence in sentences_of(text)]

    def write(self) -> None:
        """Generate, resume where an earlier call was killed, and write both files with equally many sentences.

        Raises:
            InputError: the model repeats itself too much, or the folder's sentences were generated with other settings.
        """
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            self._claim()
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(f"expected a folder to write to, found: {error}; give another --output") from None
        said: dict[str, dict[str, str]] = {}
        batches: dict[str, int] = {}
        for kind in ASKED:
            said[kind], batches[kind] = self._read(kind)
        idle = 0
        while True:
            both = said["audible"].keys() & said["inaudible"].keys()  # ambiguous: left out of both files
            fewest = min(ASKED, key=lambda kind: len(said[kind]))
            if len(said[fewest].keys() - both) >= self.count:
                break
            before = len(said[fewest])
            found = self.batch(fewest, batches[fewest])
            with open(self._path(fewest), "a", encoding="utf-8") as file:
                file.write(json.dumps(found, ensure_ascii=False) + "\n")
            batches[fewest] += 1
            for sentence in found:
                said[fewest].setdefault(same(sentence), sentence)
            idle = 0 if len(said[fewest]) > before else idle + 1
            if idle >= FRUITLESS:
                raise InputError(
                    f"expected {self.count} sentences of each kind, found {before} different ones that are {fewest} "
                    f"and {idle} batches without another; lower --count or take another --model"
                )
            if sum(batches.values()) % 10 == 0:
                print(", ".join(f"{len(found)} {kind}" for kind, found in said.items()), flush=True)
        for kind in ASKED:
            kept = [sentence for key, sentence in said[kind].items() if key not in both][: self.count]
            write_text(self.output / f"{kind}.txt", "\n".join(kept) + "\n")
        print(
            f"wrote {self.count} sentences of each kind to {self.output}; left out {len(both)} that were of both kinds"
        )

    def _claim(self) -> None:
        """Note the model and settings, so that the sentences of two models are not mixed."""
        note = self.output / "generated_by.json"
        if note.is_file():
            found = json.loads(note.read_text(encoding="utf-8"))
            if different := [name for name, value in self.made_by.items() if found.get(name) != value]:
                raise InputError(
                    f"expected sentences made with the same {', '.join(different)} in {self.output}, found others; "
                    "give another --output, or remove them"
                )
            return
        write_text(note, json.dumps(self.made_by, indent=2) + "\n")

    def _path(self, kind: str) -> Path:
        return self.output / f"{kind}.generated.jsonl"

    def _read(self, kind: str) -> tuple[dict[str, str], int]:
        """What earlier calls generated, and in how many batches; a line that a kill cut off is removed."""
        path = self._path(kind)
        lines: list[Any] = []
        if path.is_file():
            whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
            write_text(path, whole + "\n" if whole else "")
            lines = [json.loads(line) for line in whole.splitlines()]
        said: dict[str, str] = {}
        for sentence in (sentence for line in lines for sentence in line):
            said.setdefault(same(sentence), sentence)
        return said, len(lines)


def sentences_of(answer: str) -> list[str]:
    """The lines of an answer that are sentences of three to thirty words, without numbers and quotation marks."""
    lines = (" ".join(NUMBERING.sub("", line).strip(" \"'").split()) for line in answer.splitlines())
    return [line for line in lines if 3 <= len(line.split()) <= 30 and not line.endswith(":")]
