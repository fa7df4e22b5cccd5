"""A step of the experiments' graph as a job of a real SLURM, through pipelines/profiles/slurm."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from safetensors.torch import load_file

from tests.slurm.cluster import ask, wait_for
from tests.slurm.jobs import ended, show, submit

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(1800)]
RUN = "llava_prefix_seed42"
SMALL = "--data.max_clips 40 --data.num_workers 0 --data.batch_size 8 --trainer.accelerator cpu --trainer.max_steps 12"
SLOW = " --trainer.callbacks+=slow_callback.Slow"


@pytest.fixture()
def graph(folder: Path, world_root: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it runs: with the small world, and an srun that knows this cluster in a step of a job.

    The executor takes away SLURM's variables there, and with SLURM_CONF the way to a SLURM that is not the machine's.
    """
    (folder / "data" / "miniature").mkdir(parents=True)
    (folder / "data" / "miniature" / "first-40").symlink_to(world_root / "first-40")
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={cluster / "slurm.conf"} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    return folder


def start(extra: str) -> subprocess.Popen:
    """The graph, up to its first export."""
    pipelines = REPOSITORY / "pipelines"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(pipelines / "Snakefile")]
    command += ["--workflow-profile", str(pipelines / "profiles" / "slurm"), f"exports/{RUN}/provenance.json"]
    command += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
    shown = Path("graph.log").open("wb")  # noqa: SIM115
    return subprocess.Popen([*command, "--config", "quick=1", f"extra={extra}"], stdout=shown, stderr=subprocess.STDOUT)


def job_of(process: subprocess.Popen) -> str:
    """The id of the job that it submits."""
    wait_for(lambda: ask("squeue", "--noheader", "--format=%A") or process.poll() is not None, "job")
    assert process.poll() is None, Path("graph.log").read_text()
    return ask("squeue", "--noheader", "--format=%A")


def finish(process: subprocess.Popen) -> None:
    try:
        code = process.wait(400)
    finally:
        process.kill()
    assert code == 0, Path("graph.log").read_text() + Path(f"runs/logs/{RUN}.fit.log").read_text()
    assert "1 of 1 steps (100%) done" in Path("graph.log").read_text()


def test_a_step_is_a_job_and_goes_on_after_preemption(graph: Path) -> None:
    whole = start(SMALL)
    first = job_of(whole)
    finish(whole)
    assert [path.name for path in Path(f"runs/{RUN}").iterdir()] == [f"fit-slurm{first}"]
    weights = load_file(f"exports/{RUN}/adapter_model.safetensors")
    for name in ("runs", "exports"):
        Path(name).rename(f"whole_{name}")

    broken = start(SMALL + SLOW)
    job = job_of(broken)
    metrics = Path(f"runs/{RUN}/fit-slurm{job}/metrics.csv")
    wait_for(lambda: metrics.is_file() or broken.poll() is not None, "first step")
    Path("short.sh").write_text("#!/bin/sh\nsleep 3\n")
    urgent = submit(options=("--partition=urgent", "--exclusive"), script=Path("short.sh"))
    log = Path(f"runs/logs/{RUN}.fit.log")  # begun anew by the next start of the job
    wait_for(lambda: "ended by SIGTERM; SLURM job" in log.read_text() or broken.poll() is not None, "preemption")
    assert broken.poll() is None, log.read_text()
    assert ended(urgent) == "COMPLETED"
    finish(broken)
    assert show(job, "Restarts") == "1" and "Restored all states from the checkpoint" in log.read_text()
    for name, value in load_file(f"exports/{RUN}/adapter_model.safetensors").items():
        assert value.equal(weights[name])
