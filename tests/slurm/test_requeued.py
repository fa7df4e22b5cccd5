"""Jobs on a real SLURM, two nodes of one task: sent a signal before the time limit, or started wrongly."""

import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import ask
from tests.slurm.jobs import ended, log, noted, require_same, show, steps, submit, until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900), pytest.mark.usefixtures("folder")]


def test_a_requeued_job_ends_as_an_unbroken_one() -> None:
    """Beside a job of the same run name, whose checkpoint, folder and W&B run are never taken."""
    broken = submit("fit", "--config", "toy.yaml", *noted(0.3))
    runs = {broken: Path(f"runs/toy/fit-slurm{broken}")}
    until(broken, lambda: len(steps(broken)) >= 2, "second step")
    ids = {broken: (runs[broken] / "wandb/run_id.txt").read_text()}
    ask("scancel", "--signal=USR1", broken)
    whole = submit("fit", "--config", "toy.yaml", *noted(0))
    runs[whole] = Path(f"runs/toy/fit-slurm{whole}")
    until(broken, lambda: "is queued again" in log(broken), "requeue")
    for job in (whole, broken):
        assert ended(job) == "COMPLETED", log(job)
    assert (show(broken, "Restarts"), show(whole, "Restarts")) == ("1", "0")
    assert log(broken).count("ended by SIGUSR1; SLURM job") == 1 and "Traceback" not in log(broken)
    ids[whole] = (runs[whole] / "wandb/run_id.txt").read_text()
    assert (runs[broken] / "wandb/run_id.txt").read_text() == ids[broken] != ids[whole]
    assert len(list((runs[broken] / "wandb").glob(f"offline-run-*-{ids[broken]}"))) == 2, "one W&B run in two parts"
    for rank in (0, 1):
        assert [int(line.split()[0]) for line in steps(broken, rank)] == list(range(1, 2 * 8 + 1))
        assert steps(broken, rank) == steps(whole, rank), "every batch exactly once"
    require_same(runs[broken], runs[whole])


@pytest.mark.slow
def test_tasks_that_match_no_devices_are_refused() -> None:
    job = submit("fit", "--config", "toy.yaml", "--trainer.devices", "2")
    assert ended(job) == "FAILED"
    assert "error: expected one SLURM task for each device, found 2 tasks on 2 nodes" in log(job)
    assert "Traceback" not in log(job) and not Path("runs").exists()


@pytest.mark.slow
def test_a_job_without_srun_is_refused() -> None:
    Path("bare.sh").write_text(f"#!/bin/sh\n{sys.executable} train.py fit --config toy.yaml --trainer.num_nodes 2\n")
    job = submit(script=Path("bare.sh"))
    assert ended(job) == "FAILED"
    assert "error: expected srun to start the 2 tasks of this job" in log(job)
    assert "Traceback" not in log(job) and not Path("runs").exists()


@pytest.mark.slow
def test_a_first_node_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks would ask for its address for half an hour; the nodes of this cluster are no hosts."""
    monkeypatch.delenv("MASTER_ADDR")
    job = submit("fit", "--config", "toy.yaml")
    assert ended(job) == "FAILED"
    assert "error: expected an address of n1, the first node of this job, found none" in log(job)
    assert "Traceback" not in log(job) and not Path("runs").exists()
