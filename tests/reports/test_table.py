"""Two-level intervals against cases that can be enumerated by hand, and what goes into the cells."""

import csv
from argparse import Namespace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from evaluation.bootstrap import Estimate, bootstrap_weights
from evaluation.metric import mean
from reports.page import write_page
from reports.table import Line, Spread, make_lines, titles


def lines_of(
    scores: dict[str, list[list[float]]], trainings: tuple[str, ...], against: str | None = None, samples: int = 4000
) -> dict[str, Line]:
    """Report of the mean of clips' scores: for each row lists of N of them, one for each system."""
    metrics = {"cider_d": mean(np.array([system for row in scores.values() for system in row]))}
    weights = bootstrap_weights(metrics["cider_d"].statistics.shape[1], samples, seed=0)
    rng = np.random.default_rng(5)
    draws = {name: rng.integers(len(scores[name]), size=(samples, len(scores[name]))) for name in trainings}
    lines = make_lines({name: len(row) for name, row in scores.items()}, draws, metrics, weights, against)
    return {str(line["row"]): line for line in lines}


def test_two_levels_by_hand() -> None:
    """Two clips, two trainings, 16 equally likely samples: each end of the range has a sixteenth, over 2.5%."""
    both = [[0.0, 3.0], [2.0, 9.0]]
    lines = lines_of({"trained twice": both, "shuffled": both}, trainings=("trained twice",))
    # The least: the first training twice, the first clip twice. The most: the second of each.
    assert lines["trained twice"]["cider_d"] == Estimate(3.5, 0, 9)
    # Over clips only: the mean of the systems is 1 for the first clip and 6 for the second.
    assert lines["shuffled"]["cider_d"] == Estimate(3.5, 1, 6)
    assert lines["trained twice"]["trainings"] == "2"
    assert lines["shuffled"]["trainings"] == "-"
    assert lines["trained twice"]["cider_d_trainings"] == Spread((1.5, 5.5))
    assert lines["shuffled"]["cider_d_trainings"] == "-"


def test_two_levels_by_enumeration() -> None:
    """Three trainings and four clips: the percentiles of all 27 * 256 samples."""
    scores = np.random.default_rng(1).normal(size=(3, 4)) + [[0], [1], [2]]
    every = [
        scores[np.ix_(trainings, clips)].mean()
        for trainings in product(range(3), repeat=3)
        for clips in product(range(4), repeat=4)
    ]
    found = lines_of({"row": scores.tolist()}, trainings=("row",), samples=40000)["row"]["cider_d"]
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(scores.mean())
    assert (found.low, found.high) == pytest.approx(np.percentile(every, [2.5, 97.5]), abs=0.03)


def test_one_training_is_a_bootstrap_over_clips() -> None:
    scores = {"row": [[0.0, 1.0, 5.0]]}
    trained, plain = lines_of(scores, trainings=("row",))["row"], lines_of(scores, trainings=())["row"]
    assert trained["cider_d"] == plain["cider_d"]
    assert trained["trainings"] == "1"
    assert "cider_d_trainings" not in trained


def test_differences_are_paired_over_clips() -> None:
    """Trainings that are 0 and 1 above another row on every clip: the clips, however hard, cancel."""
    clips = [0.0, 50.0, -20.0, 7.0]
    above = [clip + 1 for clip in clips]
    lines = lines_of({"one": [clips], "two": [clips, above]}, trainings=("one", "two"), against="one")
    found = lines["two"]["cider_d_difference"]
    assert isinstance(found, Estimate)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0, 1))  # the draws: 0, 0.5, 0.5, 1
    assert lines["one"]["cider_d_difference"] == "-"


def test_all_rows_share_the_clips_of_a_sample() -> None:
    """The least sample of a difference by hand, where a row of trainings is the one subtracted."""
    lines = lines_of({"a": [[0.0, 4.0]], "b": [[0.0, 4.0], [0.0, 6.0]]}, trainings=("a", "b"), against="b")
    # On the second clip twice: 4 minus 4, 5 or 6; on the first: 0. Were the clips not shared, 4 minus 0 could be.
    found = lines["a"]["cider_d_difference"]
    assert found == Estimate(-0.5, -2, 0)


def test_rows_of_which_some_lack_a_cell(tmp_path: Path) -> None:
    """A row without a difference and one without trainings: every column is there for the rows that have it."""
    both = [[0.0, 3.0], [2.0, 9.0]]
    lines = list(lines_of({"twice": both, "guess": both}, trainings=("twice",), against="twice").values())
    lines[0]["val/gap"] = Spread((0.25,))
    lines[1]["val/gap"] = "-"
    options = Namespace(output=tmp_path / "table.md", title="Two | rows", note=["What it is."], command=["a", "b c"])
    write_page(options, lines, titles("twice") | {"val/gap": "gap"}, ["a note"], ["clips: N = 2"])
    with open(tmp_path / "table.csv", newline="") as file:
        twice, guess = csv.DictReader(file)
    assert (twice["cider_d_trainings_lowest"], twice["cider_d_trainings_highest"]) == ("1.5", "5.5")
    assert twice["val/gap"] == "0.25"
    assert twice["cider_d_difference"] == guess["cider_d_trainings_lowest"] == guess["val/gap"] == ""
    assert float(guess["cider_d_difference"]) == 0
    markdown = (tmp_path / "table.md").read_text()
    heads = "| row | N | training runs | CIDEr-D | CIDEr-D of the training runs | CIDEr-D minus twice's | gap |"
    assert heads in markdown
    assert markdown.startswith("# Two | rows\n\nWhat it is.\n\n| row |")
    assert "\n- a note\n\n## How this was measured\n\n- clips: N = 2\n- command: `a 'b c'`\n" in markdown
    assert "| twice | 2 | 2 | 3.500 [0.000, 9.000] | 3.500 (1.500 to 5.500) | - | 0.250 |" in markdown


def test_spread_is_read() -> None:
    assert str(Spread((0.5,))) == "0.500"
    assert str(Spread((1.0, 3.0, 2.0))) == "2.000 (1.000 to 3.000)"
    assert str(Spread((1.0, 3.0))) == "2.000 (1.000 to 3.000)"
    assert str(Spread((0.0, 0.0004))) == "0.0002 (0.000 to 0.0004)"  # no small figure is shown as none
