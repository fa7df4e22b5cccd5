"""The measurement of the loaders, on a few clips."""

from pathlib import Path

from benchmarks.loaders import main


def test_the_measurement(tmp_path: Path) -> None:
    main(["--full", "64", "--rounds", "1", "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    for row in ("| full size | decoding alone |", "| full size | this project |", "| full size | webdataset |"):
        assert page.count(row) == 1
    assert "500,000 clips in shards of 1,000, steps of 256, 1 x 1 readers: for each clip that is wanted, 0.0" in page
