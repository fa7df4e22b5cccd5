import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from callbacks.run_folder import HANDED_ON, hand_over, new_folder, open_run
from earshot.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [
        HANDED_ON,
        "TORCHELASTIC_RUN_ID",
        *(name for name in os.environ if name.startswith("SLURM_")),
    ]:
        monkeypatch.delenv(variable, raising=False)


def checkpoint(path: str, age: float) -> Path:
    """An empty file that passes for a checkpoint by its name, `age` seconds old."""
    Path(path).parent.mkdir(parents=True)
    Path(path).touch()
    return aged(Path(path), age)


def aged(path: Path, age: float) -> Path:
    """The same, `age` seconds older."""
    time = path.stat().st_mtime - age
    os.utime(path, (time, time))
    return path


def test_the_next_free_number() -> None:
    for name in ("fit-2", "fit-10", "fit-slurm99", "test-40"):
        Path("runs/a", name).mkdir(parents=True)
    assert new_folder(Path("runs/a"), "fit").name == "fit-11"
    assert new_folder(Path("runs/a"), "fit").name == "fit-12"
    assert new_folder(Path("runs/a"), "predict").name == "predict-1"


def test_started_ranks_are_told_and_the_next_command_is_not() -> None:
    with hand_over():
        folder, _ = open_run("a", "fit", None)
        assert open_run("a", "fit", None)[0] == folder  # what a started rank does
        (folder / "metrics.csv").touch()
    with hand_over():
        assert open_run("a", "fit", None)[0].name == "fit-2"
    assert not Path("runs/a/fit-2").exists(), "nothing was written there"
    assert Path("runs/a/fit-1").exists()


def test_slurm_tasks_and_a_requeued_job_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NTASKS": "2", "JOB_ID": "71", "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for _ in range(2):
        with hand_over():
            folder, _ = open_run("a", "fit", None)
            assert folder == Path("runs/a/fit-slurm71")
            (folder / "metrics.csv").touch()
    for step, name in (("0", "test-slurm71"), ("1", "test-slurm71_1"), ("4294967291", "test-slurm71")):
        monkeypatch.setenv("SLURM_STEP_ID", step)  # one `srun` after the other, or SLURM's own step
        with hand_over():
            assert open_run("a", "test", None)[0].name == name


def test_commands_of_a_job_without_srun_have_folders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a loop over seeds, say; `last` is that of the newest of them, and a requeued job overwrites none."""
    for name, value in {"NTASKS": "1", "JOB_ID": "7", "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for requeued, names in ((None, ["fit-slurm7", "test-slurm7"]), ("1", ["fit-slurm7-1", "test-slurm7-1"])):
        if requeued:
            monkeypatch.setenv("SLURM_RESTART_COUNT", requeued)
        for name in names:
            with hand_over():
                folder, _ = open_run("a", name.partition("-")[0], None)
                assert folder.name == name
                (folder / "config.yaml").touch()
    aged(Path("runs/a/fit-slurm7/config.yaml"), 20)
    checkpoint("runs/a/fit-slurm7/checkpoints/last.ckpt", age=10)
    checkpoint("runs/a/fit-slurm77/checkpoints/last.ckpt", age=-10)  # of another job
    own = checkpoint("runs/a/fit-slurm7-1/checkpoints/last.ckpt", age=5)
    for command, ckpt_path in (("test", "last"), ("fit", "resume"), ("fit", None)):
        with hand_over():
            assert open_run("a", command, ckpt_path)[1] == own


def test_torchrun_needs_a_common_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(InputError, match=HANDED_ON):
        open_run("a", "fit", None)


def test_last_is_of_the_newest_run() -> None:
    checkpoint("runs/a/fit-1/checkpoints/last.ckpt", age=10)
    newest = checkpoint("runs/a/fit-2/checkpoints/last.ckpt", age=5)
    checkpoint("runs/b/fit-3/checkpoints/last.ckpt", age=0)
    for folder in (Path("runs/a/fit-1"), Path("runs/a/fit-2")):
        aged(folder, 20)
    assert open_run("a", "fit", "last") == (Path("runs/a/fit-2"), newest)
    os.environ.pop(HANDED_ON)
    folder, start = open_run("a", "test", "last")
    assert (folder.name, start) == ("test-1", newest)


@pytest.mark.parametrize("name", ["last", "best"])
def test_an_older_runs_checkpoint_is_not_taken_for_the_newest(name: str) -> None:
    """That of a run which ended long ago, perhaps with other settings, where the newest was killed before it saved."""
    checkpoint(f"runs/a/fit-1/checkpoints/{name}.ckpt", age=10)
    Path("runs/a/fit-2").mkdir()
    Path("runs/a/fit-2/config.yaml").touch()
    said = f"expected runs/a/fit-2/checkpoints/{name}.ckpt, found none; .* --ckpt_path runs/a/fit-1/checkpoints/{name}"
    with pytest.raises(InputError, match=said):
        open_run("a", "fit" if name == "last" else "test", name)
    assert open_run("a", "fit", "resume") == (Path("runs/a/fit-3"), None)
    os.environ.pop(HANDED_ON)
    Path("runs/a/fit-3/.in_use").unlink()
    Path("runs/a/fit-3").rmdir()
    aged(Path("runs/a/fit-2/config.yaml"), 20)  # fit-1 was resumed after fit-2 was killed
    assert open_run("a", "fit", "resume")[0] == Path("runs/a/fit-1" if name == "last" else "runs/a/fit-3")


def test_resume_is_last_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one command starts a run and resumes it; a requeued SLURM job resumes its own, not the newest."""
    assert open_run("a", "fit", "resume") == (Path("runs/a/fit-1"), None)
    os.environ.pop(HANDED_ON)
    aged(Path("runs/a/fit-1"), 20)
    newest = checkpoint("runs/a/fit-2/checkpoints/last.ckpt", age=5)
    assert open_run("a", "fit", "resume") == (Path("runs/a/fit-2"), newest)
    os.environ.pop(HANDED_ON)
    with pytest.raises(InputError, match="expected a checkpoint, found no file resume"):
        open_run("a", "test", "resume")
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "batch"}.items():
        monkeypatch.setenv(name, value)
    own = checkpoint("runs/a/fit-slurm7/checkpoints/last.ckpt", age=50)
    assert open_run("a", "fit", "resume") == (Path("runs/a/fit-slurm7"), own)


def test_a_requeued_job_resumes_its_own_run_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint("runs/a/fit-2/checkpoints/last.ckpt", age=5)
    for name, value in {"NTASKS": "1", "JOB_ID": "7", "JOB_NAME": "train", "RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert open_run("a", "fit", None) == (Path("runs/a/fit-slurm7"), None), "another's"
    os.environ.pop(HANDED_ON)
    own = checkpoint("runs/a/fit-slurm7/checkpoints/last.ckpt", age=50)
    assert open_run("a", "fit", None) == (Path("runs/a/fit-slurm7"), own)
    os.environ.pop(HANDED_ON)
    began_with = "runs/a/fit-2/checkpoints/last.ckpt"
    assert open_run("a", "fit", began_with) == (Path("runs/a/fit-slurm7"), own), "back to where it began"
    os.environ.pop(HANDED_ON)
    assert open_run("a", "test", None)[1] is None
    os.environ.pop(HANDED_ON)
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert open_run("a", "fit", None)[1] is None, "asked for a new run"


def test_two_commands_do_not_resume_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is another process; when it is killed the folder is free."""
    script = "from pathlib import Path; from callbacks.one_at_a_time import take; take(Path('runs/toy/fit-1'))"
    last = checkpoint("runs/toy/fit-1/checkpoints/last.ckpt", 0)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2].absolute())}
    line = [sys.executable, "-c", f"{script}; print('taken', flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, env=environment, stdin=pipe, stdout=pipe, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "taken\n"
        with pytest.raises(InputError, match="expected runs/toy/fit-1/ to resume, found that another command still"):
            open_run("toy", "fit", "resume")
        assert open_run("toy", "test", None)[0] == Path("runs/toy/test-1")
        monkeypatch.delenv(HANDED_ON)
        first.kill()
        first.wait()
        with hand_over():
            assert open_run("toy", "fit", "resume") == (last.parents[1], last)
    assert sorted(path.name for path in last.parents[1].iterdir()) == ["checkpoints"]


def test_what_a_run_left_that_was_killed_in_its_first_save_goes_when_the_next_begins() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = Path("runs/a/fit-1/checkpoints")
    folder.mkdir(parents=True)
    left = [folder / f".{name}.ckpt.{socket.gethostname()}-{ended.pid}.partial" for name in ("last", "best")]
    saving = folder / f".last.ckpt.{socket.gethostname()}-{os.getppid()}.partial"
    for path in (*left, saving):
        path.touch()
    assert open_run("a", "fit", "resume") == (Path("runs/a/fit-2"), None)
    assert list(folder.iterdir()) == [saving]
