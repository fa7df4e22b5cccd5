"""DALI's alignment on two nodes of a real SLURM, out of time once and sent a signal twice."""

from pathlib import Path

import pytest
from conftest import arguments

from tests.slurm.cluster import ask
from tests.slurm.jobs import ended, log, noted, require_same, show, steps, submit, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(1800)]
EPOCHS, BATCH = 8, 4  # on each of two ranks; 40 clips


def test_dali_requeued_three_times_ends_as_an_unbroken_run(folder: Path, world_root: Path) -> None:
    """The reading processes get each signal too, and ignore it."""
    sizes = ["--data.batch_size", str(BATCH), "--data.num_workers", "1", "--trainer.max_epochs", str(EPOCHS)]
    command = ["fit", *arguments(world_root, *sizes, "--trainer.log_every_n_steps", "1")]
    broken = submit(*command, *noted(4), options=("--time=60", "--signal=SIGUSR1@30"))
    run = Path(f"runs/dali_ot/fit-slurm{broken}")
    until(broken, lambda: len(steps(broken)) >= 2, "second step")
    hours, minutes, _ = show(broken, "RunTime").split(":")
    ask("scontrol", "update", f"JobId={broken}", f"TimeLimit={60 * int(hours) + int(minutes) + 2}")
    until(broken, lambda: log(broken).count("is queued again") == 1, "requeue before the time limit")
    ask("scontrol", "update", f"JobId={broken}", "TimeLimit=60")
    for requeued in (2, 3):
        done = len(steps(broken))
        until(broken, lambda: len(steps(broken)) >= done + 2, "steps of the requeued job")  # noqa: B023
        ask("scancel", "--signal=USR1", broken)
        until(broken, lambda: log(broken).count("is queued again") == requeued, "requeue")  # noqa: B023
    assert len(steps(broken)) < EPOCHS * 5, "the last part had nothing to do"
    Path("slow").unlink()
    assert ended(broken) == "COMPLETED", log(broken)
    assert show(broken, "Restarts") == "3" and "Traceback" not in log(broken)

    whole = submit(*command, *noted(0))
    assert ended(whole) == "COMPLETED", log(whole)
    for rank in (0, 1):
        assert steps(broken, rank) == steps(whole, rank), "every batch exactly once"
    seen = [clip for rank in (0, 1) for line in steps(broken, rank) for clip in line.split()[1:]]
    assert len(seen) == EPOCHS * 40 and all(seen.count(clip) == EPOCHS for clip in set(seen))
    require_same(run, Path(f"runs/dali_ot/fit-slurm{whole}"), but="train/solver_seconds")
    assert len(list((run / "wandb").glob(f"offline-run-*-{(run / 'wandb/run_id.txt').read_text()}"))) == 4
