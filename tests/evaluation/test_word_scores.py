"""What captions name, counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from earshot.errors import InputError
from evaluation.word_scores import Vocabulary, named, read_vocabulary, word_metrics

VOCABULARY = Vocabulary(
    nouns={"bell": ("bell",), "rain": ("rain",), "truck": ("fire truck",), "stream": ("stream",)},
    verbs={
        "bell": ("rings", "ringing"),
        "rain": ("falls",),
        "truck": ("wails",),
        "stream": ("falls", "runs"),
    },
    visual_words=("red", "tree"),
)


def test_counts_by_hand() -> None:
    captions = [
        "A bell is ringing near a tree.",  # bell: noun and verb; a visual word
        "the fire truck stops",  # truck named without its verb, wrongly
        "a bellringer",  # nothing: words, not their parts
        "rain",  # rain without its verb, bell missing
    ]
    labels = [["bell"], ["rain"], ["bell", "unheard of"], ["rain", "bell"]]
    metrics = word_metrics([captions], labels, VOCABULARY)
    # named: bell, truck, rain = 3, right: bell, rain = 2; labels known: 1 + 1 + 1 + 2 = 5; verbs: bell's = 1
    expected = {"precision": 2 / 3, "recall": 2 / 5, "verb_recall": 1 / 5, "visual_share": 1 / 4}
    assert {name: metric.scores[0] for name, metric in metrics.items()} == pytest.approx(expected)


def test_a_shared_word_speaks_for_what_sounds() -> None:
    labels = [["stream"], ["bell"]]
    metrics = word_metrics([["it falls", "it falls"]], labels, VOCABULARY)
    # stream in the first clip; rain and stream, both wrong, in the second
    assert metrics["precision"].scores[0] == pytest.approx(1 / 3)
    assert metrics["verb_recall"].scores[0] == pytest.approx(1 / 2)


def test_nothing_named_is_no_number() -> None:
    metrics = word_metrics([["hm", "hm"], ["bell", "hm"]], [["bell"], []], VOCABULARY)
    np.testing.assert_array_equal(metrics["precision"].scores, [np.nan, 1])
    np.testing.assert_array_equal(metrics["recall"].scores, [0, 1])


def test_phrases() -> None:
    assert named("A Fire Truck, wailing", ["fire truck", "fires"]) == {"fire truck"}


def test_read_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    content = {"events": {"bell": {"nouns": ["Bell"], "verbs": ["rings"]}}, "visual_words": ["red"]}
    path.write_text(json.dumps(content))
    assert read_vocabulary(path) == Vocabulary({"bell": ("bell",)}, {"bell": ("rings",)}, ("red",))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"events": {}}', '{"events": {"a": {"nouns": "b", "verbs": []}}, "visual_words": []}'],
)
def test_wrong_vocabulary_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected .*events.*correct the file"):
        read_vocabulary(path)


def test_no_vocabulary_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a vocabulary at .* found none"):
        read_vocabulary(tmp_path / "none.json")
