"""On a real SLURM: a job that another takes the nodes from, a job that is cancelled, and the jobs of an array."""

from pathlib import Path

import pytest

from tests.slurm.cluster import ask, wait_for
from tests.slurm.jobs import ended, log, noted, require_same, show, steps, submit, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("folder"),
]
COMMAND = ["fit", "--config", "toy.yaml"]


def run_of(job: str) -> Path:
    return Path(f"runs/toy/fit-slurm{job}")


@pytest.mark.parametrize("partition", ["main", "spare"])
def test_a_preempted_job_waits_and_goes_on(partition: str) -> None:
    """SIGTERM, then a time of grace: the state is saved, and the job queues behind the one that took its nodes.

    The partition spare gives no time of grace, and SLURM itself queues the job again: KillWait seconds are left.
    """
    whole = submit(*COMMAND, *noted(0))
    assert ended(whole) == "COMPLETED", log(whole)
    broken = submit(*COMMAND, *noted(1), options=(f"--partition={partition}",))
    until(broken, lambda: len(steps(broken)) >= 2, "second step")
    urgent = submit(options=("--partition=urgent", "--exclusive"), script=short_job())
    until(broken, lambda: "ended by SIGTERM; " in log(broken), "preemption")
    Path("slow").unlink()
    assert ended(urgent) == "COMPLETED"
    assert ended(broken) == "COMPLETED", log(broken)
    assert show(broken, "StartTime") >= show(urgent, "EndTime"), "it did not wait"
    assert show(broken, "Restarts") == "1" and "Traceback" not in log(broken)
    for rank in (0, 1):
        assert steps(broken, rank) == steps(whole, rank), "every batch exactly once"
    require_same(run_of(broken), run_of(whole))


def test_a_cancelled_job_saves_its_state_and_is_over() -> None:
    job = submit(*COMMAND, *noted(1))
    until(job, lambda: len(steps(job)) >= 2, "second step")
    ask("scancel", job)
    assert ended(job) == "CANCELLED"
    wait_for(lambda: "ended by SIGTERM; fit resumes with the same command" in log(job), "last line", 30)
    assert (run_of(job) / "checkpoints/last.ckpt").is_file() and "Traceback" not in log(job)

    Path("slow").unlink()
    next_job = submit(*COMMAND, "--ckpt_path", "resume", *noted(0))
    assert ended(next_job) == "COMPLETED", log(next_job)
    numbers = [int(line.split()[0]) for line in [*steps(job), *steps(next_job)]]
    assert numbers == list(range(1, 2 * 8 + 1)), "every batch exactly once"


def test_each_task_of_an_array_is_requeued_for_itself() -> None:
    array = submit(*COMMAND, *noted(1), options=("--array=1-2",))
    wait_for(lambda: show(f"{array}_1", "JobState") == show(f"{array}_2", "JobState") == "RUNNING", "start")
    broken, whole = (show(f"{array}_{task}", "JobId") for task in (1, 2))
    until(broken, lambda: len(steps(broken)) >= 2, "second step")
    ask("scancel", "--signal=USR1", f"{array}_1")
    until(broken, lambda: f"ended by SIGUSR1; SLURM job {array}_1 is queued again" in log(broken), "requeue")
    Path("slow").unlink()
    for job in (broken, whole):
        assert ended(job) == "COMPLETED", log(job)
    assert (show(broken, "Restarts"), show(whole, "Restarts")) == ("1", "0")
    for rank in (0, 1):
        assert steps(broken, rank) == steps(whole, rank), "every batch exactly once"
    require_same(run_of(broken), run_of(whole))


def short_job() -> Path:
    path = Path("short.sh")
    path.write_text("#!/bin/sh\nsleep 3\n")
    return path
