"""The cluster of the tests beside this file, and a folder to submit jobs in."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster import NotHere, running

ROOT = Path(__file__).parents[2]
TOY = {
    "run_name": "toy",
    "model": {"class_path": "tests.toys.ExportingStage"},
    "data": {"class_path": "tests.toys.ToyData"},
    "trainer": {
        "accelerator": "cpu", "max_epochs": 2, "log_every_n_steps": 1, "enable_model_summary": False,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """One for all tests of a process."""
    try:
        with running() as folder:
            yield folder
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Path) -> Path:
    """From which jobs are submitted: with the toy stage's YAML."""
    monkeypatch.chdir(tmp_path)
    places = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHON": sys.executable}
    for name, value in {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", **places}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(TOY))
    for name in ("train.py", "assets", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path
