"""The measurement of figures, on a few clips."""

import re
from pathlib import Path

import pytest

from benchmarks.figures import main
from callbacks.token_figures import TokenFigures


@pytest.mark.slow
def test_the_shares(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = TokenFigures.on_train_end
    (in_tmp_path / "configs").symlink_to(Path(__file__).parents[2] / "configs")
    main(["--clips", "40", "--epochs", "1"])
    line = capsys.readouterr().out.splitlines()[-1]
    found = re.fullmatch(
        r"figures: ([\d.]+) s of fit on 40 clips for 1 epochs, of which ([\d.]+) s \(([\d.]+)%\) drew or captioned "
        r"during training and ([\d.]+) s \(([\d.]+)%\) drew at its end",
        line,
    )
    assert found is not None, line
    fit, _, during, end, share = map(float, found.groups())
    assert share == pytest.approx(100 * end / fit, abs=0.2) and 0 < end < fit and 0 <= during < 100
    assert TokenFigures.on_train_end is before
