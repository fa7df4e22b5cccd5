"""Jobs of one task on each of two nodes, and how they ended."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import torch

from tests.slurm.cluster import ask, wait_for

SCRIPT = Path(__file__).parents[2] / "slurm" / "train.sbatch"
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")


def submit(*arguments: str, options: tuple[str, ...] = (), script: Path = SCRIPT) -> str:
    """The id of the job; `options` are more of sbatch's."""
    asked = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0", "--time=120"]
    return ask("sbatch", "--parsable", *asked, "--output=job-%j.out", *options, str(script), *arguments)


def noted(seconds: float) -> list[str]:
    """Arguments by which each rank notes its steps, each `seconds` longer until the file named slow is removed."""
    if seconds:
        Path("slow").touch()
    return ["--trainer.callbacks+=tests.slurm.noted.Noted", f"--trainer.callbacks.seconds={seconds}"]


def steps(job: str, rank: int = 0) -> list[str]:
    """What a rank noted: the number of each step, and what was in its batch."""
    path = Path(f"noted-{job}-{rank}.txt")
    return path.read_text().splitlines() if path.is_file() else []


def show(job: str, field: str) -> str:
    """What SLURM says of a job."""
    return re.search(rf"\b{field}=(\S*)", ask("scontrol", "show", "job", job))[1]  # type: ignore[index]


def until(job: str, happened: Callable[[], object], what: str) -> None:
    """Wait for something that a job does before it ends."""
    wait_for(lambda: happened() or show(job, "JobState") in ENDED, what)
    assert happened(), log(job)


def ended(job: str) -> str:
    """Wait for its last state."""
    wait_for(lambda: show(job, "JobState") in ENDED, f"end of job {job}")
    return show(job, "JobState")


def log(job: str) -> str:
    """What the job printed."""
    path = Path(f"job-{job}.out")
    return path.read_text() if path.is_file() else ""


def rows(folder: Path) -> list[dict[str, str]]:
    """What a run logged."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def require_same(folder: Path, whole: Path, *, but: str = "") -> None:
    """Both runs ended with the same weights and state of the optimizer, and logged the same, `but` for one column."""
    both = [torch.load(path / "checkpoints/last.ckpt", weights_only=True) for path in (folder, whole)]
    for part in ("epoch", "global_step", "state_dict", "optimizer_states"):
        torch.testing.assert_close(both[0][part], both[1][part], rtol=0, atol=0)
    logged = [[{key: row[key] for key in row if key != but} for row in rows(path)] for path in (folder, whole)]
    assert logged[0] == logged[1]
