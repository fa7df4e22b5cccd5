"""Jobs that a preloaded process forks do what a process of their own would."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

STEP = REPOSITORY / "pipelines" / "step.py"
START = "import pipelines.preloaded as preloaded; preloaded.IMPORTED = ('torch',); preloaded.main()"
TELL = """
import atexit, json, os, sys, torch
atexit.register(lambda: print("left"))
print(json.dumps([sys.argv, os.getcwd(), os.environ.get("MINE"), sys.path[0], torch.get_num_threads(), __name__]))
print(os.getppid(), flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
"""


@pytest.fixture()
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A preloaded process, which steps in this test find."""
    process = subprocess.Popen([sys.executable, "-c", START], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    monkeypatch.setenv("EARSHOT_PRELOADED", process.stdout.readline().strip())
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    yield process
    process.kill()
    process.wait()


def step(folder: Path, text: str, *more: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A step that runs the script `text`, and what is in its log."""
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / "job.py").write_text(text)
    command = [sys.executable, str(STEP), "job.log", sys.executable, "scripts/job.py", *more]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    return done, (folder / "job.log").read_text().splitlines()


def test_a_forked_job_is_as_one_of_its_own(tmp_path: Path, server: subprocess.Popen[str]) -> None:
    done, lines = step(tmp_path, TELL, "0", MINE="yes", OMP_NUM_THREADS="1")
    assert done.returncode == 0 and done.stdout.splitlines() == lines
    told = [["scripts/job.py", "0"], str(tmp_path), "yes", str(tmp_path / "scripts"), 1, "__main__"]
    assert json.loads(lines[0]) == told and lines[2] == "left"
    own, lines_of_own = step(tmp_path, TELL, "0", MINE="yes", OMP_NUM_THREADS="1", EARSHOT_PRELOADED="")
    assert own.returncode == 0 and lines_of_own[3] == lines[0] and lines_of_own[5] == "left"


@pytest.mark.parametrize("ends, code", [("7", 7), ("kill", 1), ("a message", 1)])
def test_its_exit_code_is_the_steps(tmp_path: Path, server: subprocess.Popen[str], ends: str, code: int) -> None:
    done, lines = step(tmp_path, TELL, ends)
    assert done.returncode == code
    assert "left" in lines if ends != "kill" else "exit code -9" in done.stdout
    assert ends != "a message" or "a message" in lines


def test_a_traceback_is_in_the_log(tmp_path: Path, server: subprocess.Popen[str]) -> None:
    done, lines = step(tmp_path, "def f():\n    raise ValueError('bad')\nf()\n")
    assert done.returncode == 1 and "ValueError: bad" in lines


@pytest.mark.parametrize("environment", [{"EARSHOT_PRELOADED": "nowhere"}, {"SLURM_JOB_ID": "7"}])
def test_without_it_jobs_start_by_themselves(
    tmp_path: Path, server: subprocess.Popen[str], environment: dict[str, str]
) -> None:
    asked = "import os, sys; print('pipelines.preloaded' in sys.modules)"
    assert step(tmp_path, asked)[1] == ["True"]
    assert step(tmp_path, asked, **environment)[1] == ["True", "False"]


def test_it_ends_with_its_parent_and_its_jobs_go_on(tmp_path: Path) -> None:
    """As where Snakemake is killed: a job that runs is finished, and no process is left."""
    (tmp_path / "job.py").write_text("import time; print('begun', flush=True); time.sleep(2); print('done')")
    graph = (
        "import os, subprocess, sys, time\n"
        f"server = subprocess.Popen([sys.executable, '-c', {START!r}], cwd={str(REPOSITORY)!r}, stdout=-1, text=True)\n"
        "os.environ['EARSHOT_PRELOADED'] = server.stdout.readline().strip()\n"
        f"job = subprocess.Popen([sys.executable, {str(STEP)!r}, 'job.log', sys.executable, 'job.py'])\n"
        "print(server.pid, job.pid, os.environ['EARSHOT_PRELOADED'], flush=True)\n"
        "time.sleep(100)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", graph], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server, job, place = process.stdout.readline().split()
    log = tmp_path / "job.log"
    wait_until(lambda: log.exists() and log.read_text() == "begun\n")
    process.kill()
    process.wait()
    wait_until(lambda: not Path("/proc", server).exists() and not Path("/proc", job).exists())
    assert log.read_text() == "begun\ndone\n" and not Path(place).parent.exists()


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_imported_leaves_nothing_that_the_first_job_to_end_would_remove() -> None:
    """As W&B, which makes folders for all of its runs when it is imported and removes them at exit."""
    found = (
        "import sys, tempfile, threading; made = []\n"
        "original = tempfile.mkdtemp; tempfile.mkdtemp = lambda *a, **k: made.append(a) or original(*a, **k)\n"
        "import pipelines.preloaded as preloaded; preloaded.import_everything()\n"
        "print(made, threading.active_count(), 'wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", found], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[] 1 False"], done.stderr
