"""Captions for the tests of scores."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.clips import CaptionRows
from evaluation.captions_file import read_captions

HERE = Path(__file__).parent


@pytest.fixture
def by_hand() -> CaptionRows:
    """Twelve clips whose captions are good, bad, empty, repetitive."""
    return read_captions(HERE / "captions_by_hand.csv")


@pytest.fixture
def recorded() -> dict:
    """What pycocoevalcap's own scorers gave these clips."""
    return json.loads((HERE / "captions_by_hand.json").read_text())


@pytest.fixture
def random_corpus() -> Callable[[int, int], tuple[list[str], list[list[str]]]]:
    """(seed, clips) -> captions and references of few words, so that n-grams match and repeat."""
    vocabulary = ["a", "the", "dog", "bell", "rings", "barks", "while", "rain", "falls", "near", "is", "and"]

    def make(seed: int, clips: int) -> tuple[list[str], list[list[str]]]:
        rng = np.random.default_rng(seed)

        def sentence() -> str:
            return " ".join(rng.choice(vocabulary, size=rng.integers(1, 11)))

        captions = [sentence() for _ in range(clips)]
        return captions, [[sentence() for _ in range(rng.integers(1, 6))] for _ in range(clips)]

    return make
