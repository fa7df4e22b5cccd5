"""MILS against its loop written plainly, and its two proposers."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import MINIATURE, REPOSITORY, arguments
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList, PreTrainedTokenizerFast

from earshot.errors import InputError
from evaluation.captions_file import read_captions
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.continued import PROMPT, Continued
from lightning_modules.decoding.instructed import Instructed, numbered_lines
from lightning_modules.decoding.mils import Mils, read_descriptions
from train import main

NO_MODEL: Any = None  # `Spelling` asks none
BANK = ["rain", "wind", "a dog", "a bell", "a cow"]


def point(text: str) -> list[float]:
    """A text's place on the unit circle, by its letters: made up, and other for each text."""
    angle = torch.tensor(float(sum(ord(letter) * (place + 1) for place, letter in enumerate(text)) % 359))
    return [float(torch.deg2rad(angle).cos()), float(torch.deg2rad(angle).sin())]


def match(texts: list[str]) -> Tensor:
    return torch.tensor([point(text) for text in texts])


def byte_pairs() -> Tokenizer:
    """As GPT-2's: "dogs" is made of "dog" and "s"."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["a big dog and a dog growls, then it rains"] * 9, trainer)
    return tokenizer


def word_pieces() -> Tokenizer:
    """As BERT's."""
    words = ["<s>", "[UNK]", "a", "of", "big", "dog", "growls", "and", "then", "it", "rains", ",", ".", "##s"]
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


class Spelling:
    """Writes descriptions that follow from the given ones: each with another letter, and the last one again."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def propose(self, lm: Any, scored: list[list[tuple[str, float]]], number: int, round: int) -> list[list[str]]:
        self.given.append(scored)
        return [self.written(of_clip, number, round) for of_clip in scored]

    def written(self, scored: list[tuple[str, float]], number: int, round: int) -> list[str]:
        texts = [text for text, _ in scored]
        return [f"{text} {chr(96 + round)}{at}" for at in range(number) for text in texts][:number] + texts[-1:]


def plain(audio: list[float], iterations: int, kept: int, requested: int) -> list[str]:
    """The best text after each round, for one clip, in Python's floats."""

    def cosine(text: str) -> float:
        return sum(a * b for a, b in zip(point(text), audio))

    pool, best = list(BANK), []
    for number in range(1, iterations + 1):
        pool = sorted(pool, key=cosine, reverse=True)[:kept]
        best.append(pool[0])
        pool = pool + Spelling().written([(text, 0.0) for text in pool], requested, number)
    return [*best, max(pool, key=cosine)]


@pytest.fixture()
def bank(tmp_path: Path) -> str:
    (tmp_path / "bank.txt").write_text("\n".join([*BANK, "", "rain"]))
    return str(tmp_path / "bank.txt")


@pytest.fixture(scope="module")
def lm() -> CausalLm:
    folder = MINIATURE / "gpt2"
    return CausalLm(AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder))


def test_the_loop(bank: str) -> None:
    angles = torch.deg2rad(torch.tensor([14.3, 175.3, 231.3, 280.3]))
    audio = torch.stack((angles.cos(), angles.sin()), 1)
    proposer = Spelling()
    guidance = Mils(proposer, bank, iterations=4, num_kept=2, num_requested=5)
    wanted = [plain(clip, 4, 2, 5) for clip in audio.double().tolist()]
    rounds = guidance.rounds(NO_MODEL, match, None, audio)
    assert [[text for text, _ in of_clip] for of_clip in rounds] == wanted
    assert all(len(set(best)) > 1 for best in wanted)  # something was found on the way
    assert all(scores == sorted(scores) for scores in ([score for _, score in of_clip] for of_clip in rounds))
    assert guidance(NO_MODEL, match, None, audio) == [best[-1] for best in wanted]
    ranked = guidance.candidates(NO_MODEL, match, None, audio, 3)
    assert [of_clip[0][0] for of_clip in ranked] == [best[-1] for best in wanted] and len(ranked[0]) == 3
    assert all(len(of_clip) == 2 for scored in proposer.given for of_clip in scored)
    alone = guidance(NO_MODEL, match, None, audio[2:3])
    assert alone == [wanted[2][-1]]


def test_the_texts_of_all_clips_are_embedded_in_one_call_a_round(bank: str) -> None:
    calls: list[int] = []

    def counted(texts: list[str]) -> Tensor:
        calls.append(len(texts))
        return match(texts)

    guidance = Mils(Spelling(), bank, iterations=3, num_kept=2, num_requested=5)
    guidance(NO_MODEL, counted, None, torch.eye(2).repeat(4, 1))
    assert len(calls) == 1 + 3  # the bank, and a call for each round's eight clips


def test_searches_of_several_widths_share_the_rounds(bank: str) -> None:
    """As CLAP-Refine asks for; other clips have rounds of their own."""
    proposer, audio = Spelling(), torch.eye(2)
    guidance = Mils(proposer, bank, iterations=3, num_kept=2, num_requested=5)
    wide = [guidance.candidates(NO_MODEL, match, None, audio, width) for width in (2, 8)]
    assert len(proposer.given) == 3 and wide[0] == [some[:2] for some in wide[1]] and len(wide[1][0]) > 2
    swapped = guidance(NO_MODEL, match, None, audio.flip(0))
    assert len(proposer.given) == 6 and swapped == [some[0][0] for some in wide[0]][::-1]


def test_without_rounds_it_retrieves(bank: str) -> None:
    audio = match(["a cow", "wind"])
    assert Mils(Spelling(), bank, iterations=0)(NO_MODEL, match, None, audio) == ["a cow", "wind"]


def test_a_model_that_writes_no_bank_is_named() -> None:
    class Silent:
        def propose(self, lm: CausalLm, scored: list[Any], number: int, round: int) -> list[list[str]]:
            return [[] for _ in scored]

    for _ in range(2):  # and again for the next batch
        with pytest.raises(InputError, match="found none that could be read in its answer"):
            Mils(Silent())(NO_MODEL, match, None, torch.eye(2))


def test_a_bank_is_read_as_utf_8_with_its_mark_or_without(tmp_path: Path) -> None:
    path = tmp_path / "bank.txt"
    path.write_text("un café\nrain\n", encoding="utf-8-sig")  # as an editor on Windows writes it
    assert read_descriptions(str(path)) == ["un café", "rain"]
    path.write_text("un café\nrain\n", encoding="latin-1")
    with pytest.raises(InputError, match="expected descriptions in .*as UTF-8 text, found: .*correct the file"):
        read_descriptions(str(path))


def test_a_small_model_goes_on_with_beginnings(lm: CausalLm) -> None:
    scored = [[("bell rings while rain falls", 0.5), ("dog barks", 0.4)], [("clock ticks", 0.2)]]
    asked: list[str] = []

    class Noting(CausalLm):
        def encode(self, prompt: str) -> Tensor:
            asked.append(prompt.removeprefix(PROMPT).strip())
            return super().encode(prompt)

    one = Continued().propose(Noting(lm.model, lm.tokenizer), scored, 6, 1)
    assert [len(texts) for texts in one] == [6, 6] and len({*one[0]}) > 2
    for place, (text, beginning) in enumerate(zip([*one[0], *one[1]], asked, strict=True)):
        given, _ = scored[0][place % 2] if place < 6 else scored[1][0]
        assert given.split()[: len(beginning.split())] == beginning.split() != given.split()
        assert text.startswith(beginning) and "." not in text and not text.startswith("audio of")
    assert any(len(beginning.split()) > 1 for beginning in asked)
    assert Continued().propose(lm, scored[1:], 6, 1) == one[1:]  # alone as among others
    assert Continued().propose(lm, scored, 6, 2) != one and Continued(seed=1).propose(lm, scored, 6, 1) != one


@pytest.mark.parametrize("rest", [" and growls. Then", ", then it rains", "s and\ngrowls", ""])
@pytest.mark.parametrize("subwords", [byte_pairs, word_pieces])
def test_a_continuation_keeps_its_space_or_has_none(subwords: Callable[[], Tokenizer], rest: str) -> None:
    """GPT-2's tokenizer has spaces in its tokens, BERT's has marks in those that go on with a word."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=subwords(), bos_token="<s>", eos_token="<s>")
    written = tokenizer(f"dog{rest}", add_special_tokens=False)["input_ids"][len(tokenizer.tokenize("dog")) :]

    class Writes:
        device, config = torch.device("cpu"), SimpleNamespace()

        def generate(self, input_ids: Tensor, **_: Any) -> Tensor:
            return torch.cat((input_ids, torch.tensor(written).long().expand(len(input_ids), -1)), 1)

    texts = Continued().propose(CausalLm(Writes(), tokenizer), [[("a big dog growls", 0.5)]], 20, 1)[0]
    then = " ".join(rest.partition(".")[0].split())
    space = " " if rest.startswith(" ") else ""
    starts = ("a", "a big", "a big dog")
    assert {*texts} == {text for text in (then, *(f"{start}{space}{then}".strip() for start in starts)) if text}


def test_what_an_instructed_model_is_asked_and_how_its_answer_is_read(lm: CausalLm) -> None:
    lm.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    asked: list[str] = []

    class Answers(CausalLm):
        def sample(self, prompts: list[Tensor], processors: Any, max_new_tokens: int) -> list[str]:
            return ["Sure!\n1. A bell rings (0.3)\n 2. Rain falls!\n2. A bell rings\nnone\n12. (empty)"] * len(prompts)

        def encode_whole(self, text: str) -> Tensor:
            asked.append(text)
            return torch.zeros(3, dtype=torch.long)

    answering = Answers(lm.model, lm.tokenizer)
    found = Instructed(max_new_tokens=20).propose(answering, [[("a dog barks", 0.51234), ("wind", -0.1)]], 7, 1)
    assert found == [["A bell rings", "Rain falls"]]
    assert "0.512: a dog barks\n-0.100: wind\n" in asked[0] and "Write 7 more" in asked[0]
    assert asked[0].startswith("<user>") and asked[0].endswith("<assistant>")
    assert numbered_lines("no number\n3) other\n1.without a space") == []
    lm.tokenizer.chat_template = None
    with pytest.raises(InputError, match="without a chat"):
        Instructed(max_new_tokens=20).propose(lm, [[]], 7, 1)


def test_a_seed_repeats_the_sampling_of_prompts_of_any_lengths(lm: CausalLm) -> None:
    """Padding on the left, and other prompts beside it, change nothing of what the likeliest tokens are."""
    prompts = [lm.encode("audio of a bell"), lm.encode("audio of a dog that is brown and a")]
    both = lm.sample(prompts, LogitsProcessorList(), 8)
    assert both == [lm.sample([prompt], LogitsProcessorList(), 8)[0] for prompt in prompts]
    tokens = prompts[0]
    while len(tokens) < len(prompts[0]) + 8 and (len(tokens) == len(prompts[0]) or tokens[-1] != 0):  # its end token
        tokens = torch.cat((tokens, lm.model(tokens[None]).logits[0, -1].argmax()[None]))
    assert both[0] == " " + lm.decode([tokens[len(prompts[0]) :].tolist()])[0]


@pytest.mark.parametrize(
    ("values", "told"),
    [({"num_kept": 0}, "num_kept"), ({"iterations": -1}, "iterations"), ({"bank": "none.txt"}, "descriptions")],
)
def test_values_that_make_no_sense(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Mils(Spelling(), **values)


@pytest.mark.slow
def test_the_command(world_root: Path, in_tmp_path: Path) -> None:
    """Twice the rounds, no lower cosine, by the matcher that guides."""
    few = ("--evaluation.java", "false", "--model.guidance.init_args.num_initial", "40")
    metric = (
        "--config", str(REPOSITORY / "configs/metrics/clap_similarity.yaml"),
        "--evaluation.clap.init_args.pretrained_model_name_or_path", "assets/miniature/matcher",
    )  # fmt: skip
    for rounds in ("0", "3"):
        more = ("--model.guidance.init_args.iterations", rounds)
        main(["test", *arguments(world_root, *few, *metric, *more, config="mils.yaml")])
    before, after = (read_scores(Path(f"runs/mils/test-{number}")) for number in (1, 2))
    assert before["num_clips"] == after["num_clips"] == 40 and after["clap_sim"] > before["clap_sim"]
    assert len(set(read_captions(Path("runs/mils/test-2"))["captions"])) > 5
    told = json.loads(Path("runs/mils/test-2/explanations.json").read_text())
    assert all(any("each round" in what and len(best) == 4 for what, best in each["reasons"]) for each in told.values())


def read_scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return found
