"""The command on the toy stage, in this process and in one of its own; for tests that use the fixture `toy_folder`."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from train import main

ROOT = Path(__file__).parents[1].absolute()


CONFIG = {
    "run_name": "toy",
    "model": {"class_path": "tests.toys.ExportingStage"},
    "data": {"class_path": "tests.toys.ToyData"},
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "callbacks+": [
            {
                "class_path": "callbacks.resuming.LastCheckpoint",
                "init_args": {"every_n_train_steps": 2},
            }
        ],
    },
}


@pytest.fixture()
def toy_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory with a config, as a user has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Path("toy.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def run(command: str) -> None:
    name, *rest = command.split()
    main([name, "--config", "toy.yaml", *rest])


def start(command: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """The command in a process of its own, in the `folder`."""
    name, *rest = command.split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    line = [sys.executable, str(ROOT / "train.py"), name, "--config", "toy.yaml", *rest]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)


def metrics(path: str) -> list[dict[str, str]]:
    with open(f"runs/{path}/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))
