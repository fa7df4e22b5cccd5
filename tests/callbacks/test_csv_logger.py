import csv
from pathlib import Path

import pytest

from callbacks.csv_logger import CSVLogger


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_on_disk_at_once_and_a_new_column_keeps_the_old_rows(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path))
    logger.log_metrics({"train/loss": 1.0}, step=0)
    assert rows(tmp_path) == [{"step": "0", "train/loss": "1.0"}]
    logger.log_metrics({"val/loss": 2.0}, step=0)
    assert rows(tmp_path) == [
        {"step": "0", "train/loss": "1.0", "val/loss": ""},
        {"step": "0", "train/loss": "", "val/loss": "2.0"},
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv"}


def test_a_resumed_run_replaces_what_it_repeats(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path))
    for step in range(5):
        logger.log_metrics({"train/loss": float(step)}, step=step)
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("5")  # cut short by a kill
    resumed = CSVLogger(str(tmp_path))
    resumed.log_metrics({"val/loss": 30.0}, step=3)
    resumed.log_metrics({"train/loss": 40.0}, step=4)
    assert [(row["step"], row["train/loss"], row["val/loss"]) for row in rows(tmp_path)] == [
        ("0", "0.0", ""),
        ("1", "1.0", ""),
        ("2", "2.0", ""),
        ("3", "", "30.0"),
        ("4", "40.0", ""),
    ]


def test_a_kill_while_columns_are_added_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = CSVLogger(str(tmp_path))
    logger.log_metrics({"train/loss": 1.0}, step=0)

    def die(*paths: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        logger.log_metrics({"val/loss": 2.0}, step=0)
    assert rows(tmp_path) == [{"step": "0", "train/loss": "1.0"}]


def test_files_lie_directly_in_the_run_folder(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path / "fit-1"))
    assert logger.log_dir == logger.root_dir == logger.save_dir == str(tmp_path / "fit-1")
