"""Two real processes of which one fails: both end soon, and one line says why."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.datamodules.made_clips import pack_counts

ROOT = Path(__file__).parents[2].absolute()
CLIPS = {
    "run_name": "toy",
    "model": {"class_path": "tests.noting_stage.NotingStage"},
    "data": {
        "class_path": "datamodules.clip_datamodule.ClipDataModule",
        "init_args": {"root": "data", "train": "corpus/uneven", "batch_size": 6},
    },
    "trainer": {"accelerator": "cpu", "strategy": "ddp", "devices": 2, "max_epochs": 2},
    "export": {"load": False},
}
TOY = CLIPS | {"model": {"class_path": "tests.toys.ExportingStage"}, "data": {"class_path": "tests.toys.ToyData"}}


def fit(config: dict, *more: str, command: str = "fit", **environment: str) -> tuple[int, str]:
    """The exit code and stderr of train.py, which ends within two minutes; no process of it is left."""
    Path("toy.yaml").write_text(yaml.safe_dump(config))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"} | environment
    line = [sys.executable, str(ROOT / "train.py"), command, "--config", "toy.yaml", *more]
    with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            err = process.communicate(timeout=200)[1]
            deadline = time.monotonic() + 30
            while alive(process.pid) and time.monotonic() < deadline:  # readers look for their parent from time to time
                time.sleep(0.2)
            assert not alive(process.pid)
        finally:
            if alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, err


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_killed_rank_ends_the_other_with_one_line() -> None:
    code, err = fit(TOY, EARSHOT_TEST_KILL_AT="train 3", EARSHOT_TEST_RANK="1")
    assert code == 128 + signal.SIGKILL
    assert err.count("error: ") == 1 and "found that of rank 1 ended by SIGKILL" in err, err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_rank_that_is_killed_in_predict_fails_the_command() -> None:
    """Whose steps do not wait for one another."""
    code, err = fit(
        TOY | {"export": {"load": False}}, command="predict", EARSHOT_TEST_KILL_AT="predict", EARSHOT_TEST_RANK="1"
    )
    assert code == 128 + signal.SIGKILL
    assert err.count("error: ") == 1 and "found that of rank 1 ended by SIGKILL" in err, err


def test_a_process_ends_with_the_first_one_that_started_it() -> None:
    """Also where it waits for nothing, and hears of nothing."""
    Path("waits.py").write_text(
        "import os, time\nfrom callbacks import dead_ranks\ndead_ranks.PATIENCE = 0.1\n"
        "with dead_ranks.ended_together():\n    print(os.getpid(), flush=True)\n    time.sleep(1000)\n"
    )
    Path("starts.py").write_text("import subprocess, sys\nsubprocess.run([sys.executable, 'waits.py'])\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOCAL_RANK": "1"}
    with subprocess.Popen(
        [sys.executable, "starts.py"], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        assert first.stdout is not None
        try:
            waiting = int(first.stdout.readline())
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            deadline = time.monotonic() + 30
            while alive(first.pid) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert not Path(f"/proc/{waiting}").exists() and not alive(first.pid)
        finally:
            if alive(first.pid):
                os.killpg(first.pid, signal.SIGKILL)


@pytest.mark.slow
def test_what_all_ranks_refuse_is_told_once() -> None:
    code, err = fit(TOY, "--data.init_args.folder", "empty")
    assert code == 2
    assert err.count("error: expected shards in empty, found none; do write them\n") == err.count("error: ") == 1, err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_broken_clip_of_one_rank_ends_both_with_its_line() -> None:
    split = Path("data/corpus/uneven")
    split.mkdir(parents=True)
    Path("notes").mkdir()
    pack_counts(split, [40])
    data = bytearray((split / "000000.tar").read_bytes())
    data[data.index(b"RIFF", len(data) // 2) + 44] ^= 1
    (split / "000000.tar").write_bytes(data)
    code, err = fit(CLIPS, NOTES="run")
    assert code == 2
    assert err.count("error: ") == 1 and "expected the CRC-32 of clip%2E" in err, err
    assert "Traceback" not in err
