"""Which fit's metrics.csv a report reads, and what of it."""

import os
from pathlib import Path

import pytest

from earshot.errors import InputError
from reports.logged_values import logged_values, read_titles


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Captions of a run name with an old fit and a new one; of the new one's rows, each logs other things."""
    write(tmp_path / "ot" / "fit-2", "step,val/gap\n1,9.0\n", seconds=100)
    write(tmp_path / "ot" / "fit-10", "step,val/gap,train/loss\n1,,5\n9,0.5,\n10,,4\n19,0.25,\n20,,", seconds=200)
    return tmp_path / "ot" / "test-1" / "captions.csv"


def write(folder: Path, content: str, seconds: int = 100) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(content)
    os.utime(folder / "metrics.csv", (seconds, seconds))


def test_the_last_values_of_the_newest_fit_or_validate(captions: Path) -> None:
    expected = {"val/gap": [0.25], "train/loss": [4.0]}
    assert logged_values({"row": [captions]}, list(expected)) == {"row": expected}
    write(captions.parents[1] / "validate-1", "val/gap\n0.125\n", seconds=250)
    assert logged_values({"row": [captions]}, ["val/gap"]) == {"row": {"val/gap": [0.125]}}
    os.utime(captions.parents[1] / "fit-2" / "metrics.csv", (300, 300))  # that fit was resumed since
    assert logged_values({"row": [captions]}, ["val/gap"]) == {"row": {"val/gap": [9.0]}}


def test_every_training_has_its_own(captions: Path, tmp_path: Path) -> None:
    write(tmp_path / "seed2" / "fit-1", "step,val/gap\n9,0.75\n")
    write(tmp_path / "other" / "fit-1", "step,val/loss\n9,1\n")
    seed2, other, no_fit = (tmp_path / name / "test-1" / "captions.csv" for name in ("seed2", "other", "image"))
    rows = {
        "both": [captions, seed2],
        "one did not log it": [captions, other],
        "one has no fit": [no_fit, seed2],
        "tests of the same fits": [captions, captions.parents[1] / "test-2" / "captions.csv"],
        "no fit": [no_fit],
    }
    found = {name: row["val/gap"] for name, row in logged_values(rows, ["val/gap"]).items()}
    assert found == {name: [0.25, 0.75] if name == "both" else [] for name in rows}


def test_a_figure_that_nobody_logged(captions: Path) -> None:
    with pytest.raises(InputError, match=r"val/gpa .*beside the tests \(1\) logged step, train/loss, val/gap"):
        logged_values({"row": [captions]}, ["val/gpa"])
    with pytest.raises(InputError, match=r"\(0\) logged nothing"):
        logged_values({"row": [captions.parents[1]]}, ["val/gap"])


def test_a_cell_that_is_no_number(tmp_path: Path) -> None:
    write(tmp_path / "ot" / "fit-1", "step,val/gap\n9,abc\n")
    with pytest.raises(InputError, match=r"line 2, val/gap, found 'abc'"):
        logged_values({"row": [tmp_path / "ot" / "test-1" / "captions.csv"]}, ["val/gap"])


def test_titles() -> None:
    assert read_titles(["a/b=after = 1", "c=d"]) == {"a/b": "after = 1", "c": "d"}
    for wrong in ("a/b", "=after", "a/b="):
        with pytest.raises(InputError, match="expected KEY=TITLE"):
            read_titles([wrong])
