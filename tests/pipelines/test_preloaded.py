"""Jobs that a preloaded process forks do what a process of their own would."""

import json
import os
import signal
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
    process.terminate()
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


SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), print("saved"), sys.exit(143)))
print("begun", flush=True)
time.sleep(2)
print("done")
"""


@pytest.mark.parametrize(("signum", "left"), [(signal.SIGKILL, "done"), (signal.SIGTERM, "saved")])
def test_it_ends_with_its_parent_and_its_jobs_go_on(tmp_path: Path, signum: int, left: str) -> None:
    """As where Snakemake is killed, or all get SIGTERM: a job that runs ends as it likes, and no process is left."""
    (tmp_path / "job.py").write_text(SAVES)
    graph = (
        "import os, subprocess, sys, time\n"
        f"server = subprocess.Popen([sys.executable, '-c', {START!r}], cwd={str(REPOSITORY)!r}, stdout=-1, text=True)\n"
        "os.environ['EARSHOT_PRELOADED'] = server.stdout.readline().strip()\n"
        f"job = subprocess.Popen([sys.executable, {str(STEP)!r}, 'job.log', sys.executable, 'job.py'])\n"
        "print(server.pid, job.pid, os.environ['EARSHOT_PRELOADED'], flush=True)\n"
        "time.sleep(100)\n"
    )
    command = [sys.executable, "-c", graph]
    with subprocess.Popen(command, cwd=tmp_path, stdout=-1, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        server, job, place = process.stdout.readline().split()
        log = tmp_path / "job.log"
        wait_until(lambda: log.exists() and log.read_text() == "begun\n")
        (os.kill if signum == signal.SIGKILL else os.killpg)(process.pid, signum)
    wait_until(lambda: not Path("/proc", server).exists() and not Path("/proc", job).exists())
    assert log.read_text().startswith(f"begun\n{left}\n") and not Path(place).parent.exists()


def test_a_step_that_ends_while_libraries_are_imported_has_no_job(tmp_path: Path) -> None:
    slow = START.replace("('torch',)", "('slow_import',)")
    (tmp_path / "slow_import.py").write_text(
        "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)"
    )
    (tmp_path / "job.py").write_text("print('begun')")
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}
    started = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", slow], **started) as server:
        environment["EARSHOT_PRELOADED"] = server.stdout.readline().strip()
        command = [sys.executable, str(STEP), "job.log", sys.executable, "job.py"]
        first = subprocess.Popen(command, **started)
        wait_until((tmp_path / "job.log.lock").exists)
        time.sleep(0.3)
        first.terminate()
        first.communicate()
        (tmp_path / "go").touch()
        done = subprocess.run(command, timeout=60, **started)
        assert done.returncode == 0 and done.stdout == (tmp_path / "job.log").read_text() == "begun\n"
        server.terminate()


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_imported_leaves_nothing_that_the_first_job_to_end_would_remove() -> None:
    """As W&B, which makes folders for all of its runs when it is imported and removes them at exit."""
    found = (
        "import os, sys, tempfile; made = []\n"
        "original = tempfile.mkdtemp; tempfile.mkdtemp = lambda *a, **k: made.append(a) or original(*a, **k)\n"
        "import pipelines.preloaded as preloaded; preloaded.import_everything()\n"
        "print(made, len(os.listdir('/proc/self/task')), {'wandb', 'callbacks', 'lightning_modules'} & {*sys.modules})"
    )
    one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", found], cwd=REPOSITORY, env=one, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[] 1 set()"], done.stderr
