"""Sentences to classes: words that are learnt, padding that changes nothing."""

import pytest
import torch

from earshot.errors import InputError
from lightning_modules.networks.sequence_classifier import SequenceClassifier

TEXTS = ["A bell rings.", "the rock is red, and it stays so", "rain"]


@pytest.fixture()
def classifier() -> SequenceClassifier:
    made = SequenceClassifier.from_scratch(["no", "yes"], depth=2, width=32, num_heads=2, vocab_size=80).eval()
    made.use_tokenizer(made.learn_tokenizer(TEXTS))
    return made


@torch.no_grad()
def test_trimmed_is_padded(classifier: SequenceClassifier) -> None:
    tokens = classifier.tokenizer(TEXTS, padding="max_length", max_length=77, return_tensors="pt")
    assert tokens["input_ids"].shape == (3, 77) and classifier.encode(TEXTS)["input_ids"].shape[1] < 20
    padded = classifier.model(tokens["input_ids"], tokens["attention_mask"]).logits
    torch.testing.assert_close(classifier(TEXTS), padded, atol=1e-5, rtol=0)
    alone = torch.cat([classifier(TEXTS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(classifier(TEXTS), alone, atol=1e-5, rtol=0)


def test_words(classifier: SequenceClassifier) -> None:
    ids = classifier.encode(["A BELL rings."])["input_ids"][0]
    decoded = classifier.tokenizer.decode(ids, skip_special_tokens=True)
    assert decoded.replace(" .", ".") == "a bell rings." and ids[0] == 2 and ids[-1] == 3
    assert len(classifier.tokenizer) <= 80


def test_the_same_sentences_give_the_same_tokens(classifier: SequenceClassifier) -> None:
    """Words of equally frequent parts, whose order a hash table would decide."""
    texts = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklm" for c in "nopqrs"]
    assert len({classifier.learn_tokenizer(texts) for _ in range(4)}) == 1


@torch.no_grad()
def test_probability_and_labels(classifier: SequenceClassifier) -> None:
    both = [classifier.probability(TEXTS, label) for label in ("no", "yes")]
    torch.testing.assert_close(both[0] + both[1], torch.ones(3))
    torch.testing.assert_close(both[1], classifier(TEXTS).softmax(-1)[:, 1])
    with pytest.raises(InputError, match="expected a classifier with the label 'maybe', found no, yes"):
        classifier.probability(TEXTS, "maybe")
