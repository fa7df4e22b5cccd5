"""What is missing of public test sets, by their names and counts."""

import pytest

from datamodules.known_corpora import beside_its_list, corpus_of


@pytest.mark.parametrize(
    ("split", "number", "missing", "version"),
    [
        ("audiocaps/test", 975, 0, None),
        ("audiocaps/test", 957, 18, "WavCaps' copy"),
        ("audiocaps/test", 300, 675, None),
        ("audiocaps/val.csv", 494, 1, "WavCaps' copy"),
        ("clotho/evaluation", 1045, 0, None),
        ("Clotho_v2.1/test", 1000, 45, None),
        ("clotho/validation", 1046, 0, None),
    ],
)
def test_counts(split: str, number: int, missing: int, version: str | None) -> None:
    found = beside_its_list(split, number)
    assert found["missing"] == missing and found.get("version") == version


@pytest.mark.parametrize("split", ["audiocaps/train", "audioset/val", "mine/test", "", "test"])
def test_other_splits_are_not_known(split: str) -> None:
    assert beside_its_list(split, 10) == {}
    assert corpus_of("x/audiocaps") is None
