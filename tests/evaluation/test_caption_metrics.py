"""Scores against hand calculation, recorded and live scores of pycocoevalcap, and aac-metrics."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.clips import CaptionRows
from evaluation.caption_metrics import measure
from evaluation.cider import CiderD
from evaluation.java_metrics import meteor_score
from evaluation.overlap import bleu_score, bleu_statistics, rouge_l
from evaluation.tokens import tokenize, words

RandomCorpus = Callable[[int, int], tuple[list[str], list[list[str]]]]


def test_agrees_with_recorded_pycocoevalcap(tmp_path: Path, by_hand: CaptionRows, recorded: dict) -> None:
    measured = measure([by_hand["captions"]], by_hand["references"], tmp_path, java=False)
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"):
        assert measured.metrics[name].scores[0] == pytest.approx(recorded["corpus"][name], rel=1e-9), name
    for name in ("rouge_l", "cider_d"):
        per_clip = measured.metrics[name].per_clip[0]
        np.testing.assert_allclose(per_clip, recorded["per_clip"][name], rtol=1e-9, atol=1e-12)


def test_agrees_with_live_pycocoevalcap(tmp_path: Path, random_corpus: RandomCorpus) -> None:
    pytest.importorskip("pycocoevalcap", reason="the 104 MB package is not installed")
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    captions, references = random_corpus(1, 50)
    gold, said = dict(enumerate(references)), {index: [text] for index, text in enumerate(captions)}
    bleu = BleuScorer(n=4)
    for caption, group in zip(captions, references):
        bleu += (caption, group)
    measured = measure([captions], references, tmp_path, java=False).metrics
    orders = [measured[f"bleu_{order}"].scores[0] for order in range(1, 5)]
    np.testing.assert_allclose(orders, bleu.compute_score(option="closest")[0], rtol=1e-9)
    for name, scorer in (("cider_d", Cider()), ("rouge_l", Rouge())):
        np.testing.assert_allclose(measured[name].per_clip[0], scorer.compute_score(gold, said)[1], rtol=1e-9)


def test_agrees_with_aac_metrics(tmp_path: Path, random_corpus: RandomCorpus) -> None:
    functional = pytest.importorskip("aac_metrics.functional")
    captions, references = random_corpus(2, 80)
    captions[3] = ""
    measured = measure([captions], references, tmp_path, java=False).metrics
    for order in range(1, 5):
        expected = functional.bleu(captions, references, return_all_scores=False, n=order)
        assert measured[f"bleu_{order}"].scores[0] == pytest.approx(float(expected), rel=1e-9)
    for name, function in (("rouge_l", functional.rouge_l), ("cider_d", functional.cider_d)):
        corpus, clips = function(captions, references)
        assert measured[name].scores[0] == pytest.approx(float(corpus[name]), rel=1e-9)
        np.testing.assert_allclose(measured[name].per_clip[0], clips[name].numpy(), rtol=1e-9, atol=1e-12)


def test_bleu_by_hand() -> None:
    # "a dog barks loudly" against "a dog barks": 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1.
    counts = bleu_statistics(words("a dog barks loudly"), [words("a dog barks"), words("one two three four five six")])
    assert counts == [3, 2, 1, 0, 4, 3, 2, 1, 4, 3]
    statistics = np.array(counts, dtype=float)
    assert bleu_score(statistics, 1) == pytest.approx(3 / 4)
    assert bleu_score(statistics, 2) == pytest.approx(math.sqrt(3 / 4 * 2 / 3))
    # A caption of 1 word against 2 words pays exp(1 - 2).
    short = np.array(bleu_statistics(words("dog"), [words("dog barks")]), dtype=float)
    assert bleu_score(short, 1) == pytest.approx(math.exp(-1), rel=1e-6)


def test_bleu_clips_repeated_words() -> None:
    assert bleu_statistics(words("the the the"), [words("the dog"), words("the the")])[:2] == [2, 1]


def test_rouge_by_hand() -> None:
    # Longest common subsequences: "a bell rings" (3 of 4 and 3 of 3) and "a rings" (2 of 2).
    precision, recall, beta = 3 / 4, 1.0, 1.2
    expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert rouge_l(words("a red bell rings"), [words("a bell rings"), words("a rings")]) == pytest.approx(expected)
    assert rouge_l((), [words("a bell")]) == 0


def test_cider_by_hand() -> None:
    # Two clips, "dog barks" and "bell rings": every n-gram weighs log 2; orders 3 and 4 hold nothing.
    cider = CiderD([[words("dog barks")], [words("bell rings")]])
    np.testing.assert_allclose(cider.score([words("dog barks"), words("dog barks")]), [5, 0])
    # "dog" alone: one of two words, norm log 2 against sqrt(2) log 2, one bigram shorter.
    expected = 10 / 4 * (1 / math.sqrt(2)) * math.exp(-1 / 72)
    np.testing.assert_allclose(cider.score([words("dog"), words("")]), [expected, 0])


def test_constant_caption_is_scored_as_if_said_everywhere(random_corpus: RandomCorpus) -> None:
    captions, references = random_corpus(3, 30)
    cider = CiderD([[words(text) for text in group] for group in references])
    for caption in captions[:5]:
        assert cider.score_everywhere(words(caption)) == pytest.approx(cider.score([words(caption)] * 30).mean())


def test_systems_measured_together_score_as_alone(tmp_path: Path, random_corpus: RandomCorpus) -> None:
    first, references = random_corpus(4, 25)
    second = random_corpus(5, 25)[0]
    together = measure([first, second], references, tmp_path, java=False).metrics
    for index, captions in enumerate((first, second)):
        alone = measure([captions], references, tmp_path, java=False).metrics
        for name, metric in alone.items():
            np.testing.assert_allclose(together[name].per_clip[index], metric.per_clip[0], err_msg=name)


def test_resampling_a_clip_twice_is_having_it_twice(tmp_path: Path, random_corpus: RandomCorpus) -> None:
    captions, references = random_corpus(6, 10)
    metrics = measure([captions], references, tmp_path, java=False).metrics
    twice = measure([captions + captions[:1]], references + references[:1], tmp_path, java=False).metrics
    weights = np.ones((1, 10))
    weights[0, 0] = 2
    for name in ("bleu_4", "rouge_l"):  # CIDEr-D keeps the document frequencies of the ten
        assert metrics[name].resampled(weights)[0, 0] == pytest.approx(twice[name].scores[0])


def test_one_clip_has_no_cider(tmp_path: Path) -> None:
    measured = measure([["a dog"]], [["a dog barks"]], tmp_path, java=False)
    assert "cider_d" not in measured.metrics
    assert "two clips" in measured.not_computed["cider_d"]
    assert "spider" not in measured.metrics


def test_fallback_tokenizer() -> None:
    assert words("A T-shirt, it's LOUD; don't!  5.5 kHz...") == (
        "a",
        "t-shirt",
        "it",
        "'s",
        "loud",
        "do",
        "n't",
        "5.5",
        "khz",
    )
    tokens, name = tokenize(["A\nbell  rings."], java=False)
    assert (tokens, name) == ([("a", "bell", "rings")], "words")


def test_meteor_score_of_recorded_counts() -> None:
    # METEOR 1.5's own counts (SCORE) of three captions, and its own scores of each and of all (EVAL).
    counts = np.zeros((3, 23))
    counts[0, [0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 22]] = [6, 7, 1, 3, 3, 3, 1, 1, 3, 4, 4]
    counts[1, [0, 1, 2, 3, 4, 5, 20, 21, 22]] = [3, 4, 1, 2, 1, 1, 1, 1, 1]
    counts[2, 1] = 2
    np.testing.assert_allclose(meteor_score(counts), [0.2861699625234712, 0.15286624203821655, 0], atol=1e-12)
    assert meteor_score(counts.sum(0)) == pytest.approx(0.19716905699778337, abs=1e-12)
