"""Shares of unknown words, counted by hand."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from earshot.errors import InputError
from lightning_modules.networks import known_words
from lightning_modules.networks.known_words import require_known_words


def tokenizer_of(words: str) -> PreTrainedTokenizerFast:
    inner = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["<unk>", *words.split()])}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<unk>")


def told(words: str, texts: list[str], longest: int | None = None) -> list[str]:
    lines: list[str] = []
    require_known_words(tokenizer_of(words), texts, "--config real.yaml", lines.append, longest)
    return lines


def test_one_word_in_twenty_is_not_worth_a_line_and_one_in_ten_is() -> None:
    texts = ["a dog barks and a dog barks again and again"] * 2
    assert told("a dog barks and again", [*texts, "a dog"]) == []
    assert told("a dog barks and again", [texts[0], "a dog barks and a dog barks loud and again"]) == []  # 1 of 20
    (line,) = told("a dog barks and again", [texts[0].replace("barks again", "growls again")])  # 1 of 10
    assert line == (
        "warning: 10% of the words in the training captions are unknown to the tokenizer, such as 'growls'; the model "
        "cannot learn them"
    )


def test_half_is_a_warning_and_more_is_refused() -> None:
    (line,) = told("a dog", ["a man", "dog growls"])
    assert "50% of the words" in line and "such as 'man', 'growls';" in line
    with pytest.raises(InputError) as error:
        told("a dog", ["a man", "man growls", "a man"])
    assert "found 67% unknown words, such as 'man', 'growls'; add --config real.yaml, or name" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_text_and_no_sign_for_unknown_words() -> None:
    assert told("a", []) == []
    inner = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))  # as of bytes: what it lacks leaves no token
    lines: list[str] = []
    require_known_words(PreTrainedTokenizerFast(tokenizer_object=inner), ["a dog"], "", lines.append)
    assert lines == []


def test_captions_that_are_cut() -> None:
    texts = ["a dog", "a dog barks", "a dog barks again", "a dog barks and barks"]
    assert told("a dog barks again and", texts, 5) == []
    assert told("a dog barks again and", texts, 3) == [
        "warning: 50% of the training captions have more than 3 tokens and are cut"
    ]


def test_a_large_corpus_is_looked_at_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_words, "MOST", 10)
    (line,) = told("a dog", ["a dog"] * 60 + ["a cat"] * 40)  # the last 40 of 100
    assert "20% of the words" in line and "such as 'cat';" in line
