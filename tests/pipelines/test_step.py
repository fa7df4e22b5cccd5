"""What step.py does around one job of a graph."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import REPOSITORY

STEP = REPOSITORY / "pipelines" / "step.py"


def test_a_failed_step_repeats_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "job.log"
    command = [sys.executable, str(STEP), str(log), sys.executable, "-c", "print('fine'); raise SystemExit(3)"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3 and done.stdout.endswith(f"exit code 3; the last lines of {log}:\n  fine\n")
    assert log.read_text() == "fine\n"


def test_two_processes_never_run_one_step(tmp_path: Path) -> None:
    """Also when the first one's parent was killed and the command itself lives on."""
    log = tmp_path / "job.log"
    sleep = [
        sys.executable,
        str(STEP),
        str(log),
        sys.executable,
        "-c",
        "import time; print(1, flush=True); time.sleep(60)",
    ]
    first = subprocess.Popen(sleep, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        while not (log.exists() and log.read_text() == "1\n"):  # with all written, no broken pipe can end it
            time.sleep(0.05)
        first.kill()
        first.wait()
        log.unlink()  # as Snakemake does
        second = subprocess.run([sys.executable, str(STEP), str(log), "true"], capture_output=True, text=True)
        assert second.returncode == 2 and "still at it" in second.stdout
    finally:
        os.killpg(first.pid, 9)
    deadline = time.monotonic() + 10
    while subprocess.run([sys.executable, str(STEP), str(log), "true"], stdout=subprocess.DEVNULL).returncode:
        assert time.monotonic() < deadline


def test_a_step_waits_for_a_command_that_saves_its_state(tmp_path: Path) -> None:
    """SLURM sends SIGTERM to every process of a job that it takes the nodes from."""
    saves = "import signal, sys, time; signal.signal(15, lambda *_: (time.sleep(1), print('saved'), sys.exit(143)))"
    code = f"{saves}; print('ready', flush=True); time.sleep(60)"
    step = [sys.executable, str(STEP), str(tmp_path / "job.log"), sys.executable, "-c", code]
    process = subprocess.Popen(step, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGTERM)
    assert process.stdout.readline() == "saved\n"
    assert process.wait(20) == 143
