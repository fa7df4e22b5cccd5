"""ZerAuCap's prompt and its ranking, by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import DistilBertConfig, DynamicCache

from earshot.errors import InputError
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.keyword_prompt import read_bank
from lightning_modules.decoding.keywords import KeywordDecoding

WORDS = ["<s>", "dog", "bell", "barks", "."]
AXES = {"dog": [1.0, 0, 0], "bell": [0, 1.0, 0], "rain": [0, 0, 1.0]}


class Model:
    """Always the same probabilities for the next word."""

    device = torch.device("cpu")
    config = SimpleNamespace(vocab_size=5)

    def __call__(self, input_ids: torch.Tensor, past_key_values: DynamicCache, use_cache: bool) -> SimpleNamespace:
        rows, length = input_ids.shape
        past_key_values.update(torch.zeros(rows, 1, length, 1), torch.zeros(rows, 1, length, 1), 0)
        logits = torch.tensor([0.1, 0.3, 0.29, 0.01, 0.3]).log().expand(rows, length, 5)
        return SimpleNamespace(logits=logits, past_key_values=past_key_values)


class Tokenizer:
    bos_token_id = eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict:
        return {"input_ids": [1] * len(text.split())}

    def batch_decode(self, rows: list[list[int]], **_: object) -> list[str]:
        return [" ".join(WORDS[i] for i in row) for row in rows]


def match(texts: list[str]) -> torch.Tensor:
    found = []
    for text in texts:
        axes = [torch.tensor(AXES[word]) for word in text.split() if word in AXES]
        found.append(torch.stack(axes).sum(0) if axes else torch.zeros(3))
    return torch.nn.functional.normalize(torch.stack(found), dim=-1)


@pytest.fixture()
def decoding(tmp_path: Path) -> KeywordDecoding:
    (tmp_path / "bank.txt").write_text("rain\ndog, bell\n")
    return KeywordDecoding(str(tmp_path / "bank.txt"), num_candidates=3, max_new_tokens=3)


def test_prompt_has_the_two_nearest_keywords(decoding: KeywordDecoding) -> None:
    audio = torch.tensor([[0.8, 0.6, 0.0], [0.0, 0.1, 0.99]])
    assert decoding.prompts(match, audio) == [
        "Objects: dog, and a bell. This is a sound of ", "Objects: rain, and a bell. This is a sound of ",
    ]  # fmt: skip


def test_tokens_are_ranked_anew(decoding: KeywordDecoding) -> None:
    """Of dog, bell and . at .3, .29 and .3, the sound of a bell chooses bell; a sound of nothing known the first."""
    lm = CausalLm(Model(), Tokenizer())
    first = [caption.split()[0] for caption in decoding(lm, match, None, torch.eye(3)[:2])]
    assert first == ["dog", "bell"]
    decoding.beta = 0.0
    assert all(caption.split()[0] in ("dog", ".") for caption in decoding(lm, match, None, torch.eye(3)[:2]))


def test_choices_are_told_with_their_scores(decoding: KeywordDecoding) -> None:
    """Of the sound of a bell: probability, cosine, and their sum with half the softmax of ten times the cosines."""
    (choices,) = decoding.choices(CausalLm(Model(), Tokenizer()), match, None, torch.eye(3)[1:2], 2)
    words = [word for word, _ in choices[0]]
    assert words[0] == "bell" and sorted(words) == [".", "bell", "dog"]
    share = dict(zip((".", "bell", "dog"), torch.tensor([0.0, 10.0, 0.0]).softmax(-1).tolist()))
    for word, found in choices[0]:
        probability, cosine = {".": (0.3, 0.0), "bell": (0.29, 1.0), "dog": (0.3, 0.0)}[word]
        assert found == pytest.approx([probability, cosine, probability + share[word] / 2], abs=1e-6)
    assert " ".join(token[0][0] for token in choices) == decoding(
        CausalLm(Model(), Tokenizer()), match, None, torch.eye(3)[1:2]
    )[0]  # fmt: skip


def test_searches_of_several_widths_share_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CLAP-Refine asks for: each number of keywords is decoded once; other clips have captions of their own."""
    (tmp_path / "bank.txt").write_text("\n".join(["dog", "bell", "rain", *"abcdef"]))
    decoding = KeywordDecoding(str(tmp_path / "bank.txt"), num_candidates=3, max_new_tokens=3)
    counts: list[int | None] = []
    plain = KeywordDecoding._captions

    def counted(self: KeywordDecoding, *args: Any, number: int | None = None, **more: Any) -> list:
        counts.append(number)
        return plain(self, *args, number=number, **more)

    monkeypatch.setattr(KeywordDecoding, "_captions", counted)
    lm, audio = CausalLm(Model(), Tokenizer()), torch.eye(3)[:2]
    wide = [decoding.candidates(lm, match, None, audio, width) for width in range(2, 9)]
    assert counts == list(range(1, 9))
    fresh = [decoding.candidates(lm, match, None, audio.clone(), width) for width in range(2, 9)]
    assert wide == fresh and len(counts) == 8 + 35
    swapped = decoding.candidates(lm, match, None, audio.flip(0), 8)
    assert swapped == wide[-1][::-1] != wide[-1]


def test_it_stops_and_clips_do_not_touch(decoding: KeywordDecoding) -> None:
    lm = CausalLm(Model(), Tokenizer())
    together = decoding(lm, match, None, torch.eye(3))
    assert together == [decoding(lm, match, None, torch.eye(3)[i : i + 1])[0] for i in range(3)]
    assert all(len(caption.split()) <= 3 for caption in together)


def test_banks(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text('index,mid,display_name\n0,/m/1,"Child speech, kid speaking"\n1,/m/2,Bell\n')
    assert read_bank(str(table)) == ["Child speech", "kid speaking", "Bell"]
    table.write_text(" \n,\n")
    with pytest.raises(InputError, match="expected keywords in"):
        read_bank(str(table))
    with pytest.raises(
        InputError, match="expected keywords in .*none, as UTF-8 text, found: .*class_labels_indices.csv"
    ):
        read_bank(str(tmp_path / "none"))
    names = {0: "Child speech, kid speaking", 1: "Bell"}
    DistilBertConfig(id2label=names, label2id={name: i for i, name in names.items()}).save_pretrained(
        tmp_path / "kinds"
    )
    assert read_bank(f"hf://{tmp_path / 'kinds'}") == ["Child speech", "kid speaking", "Bell"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_of_classes_may_have_any_separator(mark: str, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [["index", "mid", "display_name"], ["0", "/m/1", '"Child speech, kid speaking"'], ["1", "/m/2", "Bell"]]
    table.write_text("\n" + "".join(f"{mark.join(row)}\n\n" for row in rows))
    assert read_bank(str(table)) == ["Child speech", "kid speaking", "Bell"]
    quoted = "".join(mark.join(f'"{cell.strip(chr(34))}"' for cell in row) + "\n" for row in rows)
    table.write_text(quoted)  # every cell
    assert read_bank(str(table)) == ["Child speech", "kid speaking", "Bell"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("index,mid,display_name\n0,/m/1,Bell\n1,/m/2\n", r"expected 3 cells .*found 2 in \['1', '/m/2'\]"),
        ("index,mid,display_name\n0,/m/1,Child speech, kid speaking\n", "expected 3 cells .*found 4"),
        ("a display_name of a dog, bell\nrain\n", "expected a column display_name or keywords"),
        ("index|display_name\n0|Bell\n", "expected a column display_name or keywords"),
        ("index,display_name\n0,'Bell\n1,\"rain\n", "expected a table of classes .*: unexpected end of data"),
        ("index,display_name\n", "expected keywords in .*, found none"),
    ],
)
def test_a_table_of_classes_that_is_not_clear_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=told) as raised:
        read_bank(str(tmp_path / "labels.csv"))
    assert "labels.csv" in str(raised.value)


@pytest.mark.parametrize("wrong", [{"num_keywords": 0}, {"num_candidates": 0}, {"max_new_tokens": 0}, {"beta": -1.0}])
def test_values_without_sense(wrong: dict, tmp_path: Path) -> None:
    (tmp_path / "bank.txt").write_text("rain\n")
    with pytest.raises(InputError, match="of at least 1"):
        KeywordDecoding(str(tmp_path / "bank.txt"), **wrong)
