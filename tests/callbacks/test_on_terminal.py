"""The bar, the summary and tables on a real terminal of 80 columns."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from scored_run import HOSTILE, run_folder
from terminal_screen import lines_of, on_terminal

CONFIG = {
    "run_name": "toy",
    "model": {"class_path": "tests.toys.ExportingStage"},
    "data": {"class_path": "tests.toys.ToyData"},
    "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "log_every_n_steps": 1},
}


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def test_the_screen_by_hand() -> None:
    """A bar of two lines that is drawn twice, text above it, and a line that is longer than the screen."""
    written = "bar 1\r\nmore\x1b[1A\r\x1b[2Kabove\r\n\x1b[2Kbar \x1b[32m2\x1b[0m\r\nmore\r\n" + "x" * 12
    assert lines_of(written, 10) == ["above", "bar 2", "more", "x" * 10, "xx"]


def test_the_bar_leaves_the_summary_whole(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, str(REPOSITORY / "train.py"), "fit", "--config", "toy.yaml"]
    code, lines = on_terminal(command, tmp_path, environment)
    assert code == 0, lines
    shown = "\n".join(lines)
    bars = [number for number, line in enumerate(lines) if "Epoch 1/1" in line]
    titles = [number for number, line in enumerate(lines) if line.startswith("fit took ")]
    assert len(bars) == 1 and len(titles) == 1 and bars[0] < titles[0], shown
    assert "16/16" not in lines[titles[0]] and "8/8" in lines[bars[0]], shown
    said = [line[:9].strip() for line in lines[titles[0] + 1 :] if line.startswith("  ") and line[2] != " "]
    assert said[:3] == ["run", "result", "memory"] and "next" in said, shown
    assert "TPU" not in shown and "FLOPs" not in shown and max(map(len, lines)) <= 80


def test_a_table_has_one_line_a_run(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = run_folder(tmp_path, [*HOSTILE, "a dog barks"])
    name = "audiocaps_attentive_ot_image_distilled_seed42"
    command = [sys.executable, "-m", "reports", "compare", f"first={folder}", f"{name}={folder}", "--no-java"]
    code, lines = on_terminal([*command, "--output", "out.md"], tmp_path, environment)
    shown = "\n".join(lines)
    assert code == 0 and max(map(len, lines)) <= 80, shown
    rows = [line for line in lines if line.startswith("│")]
    cells = [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
    assert cells[0][0] == "first" and len(cells) <= 3, shown  # the long name takes two lines
    assert "".join(row[0] for row in cells[1:]) == name, shown
    assert all(number.replace(".", "").isdigit() for number in cells[0][1:]), shown
