"""The measurement of the page, on a few clips."""

import pytest

from benchmarks.report import main


def test_the_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--clips", "5", "--seconds", "1"])
    assert capsys.readouterr().out.startswith("5 clips of 1 s at 16000 Hz (seed 0), sound and image of up to 60: ")
