"""Jobs on a real SLURM: preempted, out of time, or started wrongly. Two nodes, gloo."""

import csv
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.slurm.conftest import ask, wait_for

ROOT = Path(__file__).parents[2]
TOY = {
    "run_name": "toy",
    "model": {"class_path": "tests.slurm.slow_toy.SlowStage"},
    "data": {"class_path": "tests.toys.ToyData"},
    "trainer": {
        "accelerator": "cpu", "max_epochs": 4, "log_every_n_steps": 1, "enable_model_summary": False,
    },
}  # fmt: skip

NOT_YET = "the cluster starts, but the one job tried had made no run folder after 240 s; the cause is not known"
pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.xfail(reason=NOT_YET, strict=True)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_MODE": "offline", "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}.items():
        monkeypatch.setenv(name, value)
    Path("toy.yaml").write_text(yaml.safe_dump(TOY))
    Path("train.py").symlink_to(ROOT / "train.py")
    return tmp_path


def submit(*arguments: str, script: Path = ROOT / "slurm" / "train.sh", seconds: str = "0") -> str:
    """The id of a job of one task on each of two nodes; SLOW is how long each of its steps takes."""
    asked = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0", "--time=10"]
    asked += ["--output=job-%j.out", f"--export=ALL,SLOW={seconds}"]
    return ask("sbatch", "--parsable", *asked, str(script), *arguments)


def state(job: str) -> str:
    return re.search(r"JobState=(\w+)", ask("scontrol", "show", "job", job))[1]  # type: ignore[index]


def ended(job: str) -> str:
    """Its last state."""
    wait_for(lambda: state(job) not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED"), f"end of job {job}")
    return state(job)


def rows(job: str) -> list[dict[str, str]]:
    path = Path(f"runs/toy/fit-slurm{job}/metrics.csv")
    return list(csv.DictReader(path.open(newline=""))) if path.is_file() else []


def log(job: str) -> str:
    return Path(f"job-{job}.out").read_text()


def same(first: str, second: str) -> None:
    """Both jobs have ended with the same state, and logged every step once."""
    states = [
        torch.load(f"runs/toy/fit-slurm{job}/checkpoints/last.ckpt", weights_only=True) for job in (first, second)
    ]
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "ToyData"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    assert rows(first) == rows(second)
    assert [int(row["step"]) for row in rows(first) if row["train/loss"]] == list(range(4 * 8))


def test_a_requeued_job_ends_as_an_unbroken_one(cluster: Path) -> None:
    broken = submit("fit", "--config", "toy.yaml", seconds="0.5")
    wait_for(Path(f"runs/toy/fit-slurm{broken}/config.yaml").exists, "start")
    wait_for(lambda: "step 0" in log(broken), "first step")
    run_id = Path(f"runs/toy/fit-slurm{broken}/wandb/run_id.txt").read_text()
    ask("scancel", "--signal=USR1", broken)
    wait_for(lambda: "is queued again" in log(broken), "requeue")
    assert ended(broken) == "COMPLETED", log(broken)
    assert log(broken).count("ended by SIGUSR1; SLURM job") == 1 and "Traceback" not in log(broken)
    steps = [int(step) for step in re.findall(r"^step (\d+)$", log(broken), re.MULTILINE)]
    assert steps == list(range(4 * 8)), "every batch exactly once"
    assert Path(f"runs/toy/fit-slurm{broken}/wandb/run_id.txt").read_text() == run_id

    whole = submit("fit", "--config", "toy.yaml")
    assert ended(whole) == "COMPLETED", log(whole)
    same(broken, whole)


def test_tasks_that_match_no_devices_are_refused() -> None:
    job = submit("fit", "--config", "toy.yaml", "--trainer.devices", "2")
    assert ended(job) == "FAILED"
    assert "error: expected one SLURM task for each device, found 2 tasks on 2 nodes" in log(job)
    assert not Path("runs").exists()


def test_a_job_without_srun_is_refused() -> None:
    Path("bare.sh").write_text(f"#!/bin/sh\n{sys.executable} train.py fit --config toy.yaml --trainer.num_nodes 2\n")
    job = submit(script=Path("bare.sh"))
    assert ended(job) == "FAILED"
    assert "error: expected srun to start the 2 tasks of this job" in log(job)
