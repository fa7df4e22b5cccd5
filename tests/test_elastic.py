"""A fit that is killed and goes on with other numbers of processes: the very next batch, and the weights of no kill."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from datamodules.clips import ClipBatch
from tests.captioning_toy import CaptioningToy
from tests.datamodules.made_clips import pack_counts

ROOT = Path(__file__).parents[1].absolute()
STEPS = 78 // 12  # of an epoch
CONFIG = {
    "run_name": "toy",
    "model": {"class_path": "tests.noting_stage.NotingStage"},
    "data": {
        "class_path": "datamodules.clip_datamodule.ClipDataModule",
        "init_args": {"root": "data", "train": "corpus/uneven", "batch_size": 12, "shuffle_window": 30},
    },
    "trainer": {"accelerator": "cpu", "strategy": "ddp", "max_epochs": 3},
    "export": {"load": False},
}


def fit(run: str, devices: int, workers: int, kill_at: int | None = None, *more: str) -> subprocess.CompletedProcess:
    """train.py in processes of its own; the callbacks save after every step."""
    words = ["fit", "--config", "toy.yaml", "--run_name", run, "--trainer.devices", str(devices)]
    words += ["--data.num_workers", str(workers), "--trainer.callbacks.every_n_train_steps", "1"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled",
        "NOTES": f"{run}-{devices}", "EARSHOT_TEST_KILL_AT": str(kill_at),
    }  # fmt: skip
    line = [sys.executable, str(ROOT / "train.py"), *words, "--ckpt_path", "resume", *more]
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=400)
        finally:
            with contextlib.suppress(ProcessLookupError):  # ranks of a process that was killed
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(line, process.returncode, out, err)


def global_batches(run: str, devices: int) -> dict[int, list[str]]:
    """The ids of each step, part i * devices + rank being batch i of a rank."""
    parts: dict[int, dict[tuple[int, int], list[str]]] = {}
    for rank in range(devices):
        for line in Path(f"notes/{run}-{devices}-{rank}.jsonl").read_text().splitlines():
            step, batch, ids = json.loads(line)
            parts.setdefault(step, {})[batch, rank] = ids
    return {step: [clip_id for _, ids in sorted(found.items()) for clip_id in ids] for step, found in parts.items()}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_one_two_and_three_processes_make_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(yaml.safe_dump(CONFIG))
    Path("data/corpus/uneven").mkdir(parents=True)
    Path("notes").mkdir()
    pack_counts(Path("data/corpus/uneven"), [13, 5, 21, 8, 17, 3, 11])

    done = fit("whole", 1, 1)
    assert done.returncode == 0, done.stderr
    whole = global_batches("whole", 1)
    assert list(whole) == list(range(3 * STEPS)) and {len(ids) for ids in whole.values()} == {12}

    # accumulated on one process; then two, of other workers; then three: every step once, but those that a kill undid
    killed = fit("broken", 1, 0, STEPS + 2, "--data.batch_size", "4", "--data.global_batch_size", "12")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert fit("broken", 2, 3, 2 * STEPS + 3).returncode != 0
    ended = fit("broken", 3, 1)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("global batch of 12: 3 devices x 4 x 1 accumulated") + ended.stdout.count(
        "global batch of 12: 3 devices x 4 x 1 accumulated"
    ) == 1  # fmt: skip
    runs = [global_batches("broken", devices) for devices in (1, 2, 3)]
    assert [(min(run), max(run)) for run in runs] == [
        (0, STEPS + 1), (STEPS + 2, 2 * STEPS + 2), (2 * STEPS + 3, 3 * STEPS - 1),
    ]  # fmt: skip
    assert runs[0] | runs[1] | runs[2] == whole
    last = [torch.load(f"runs/{run}/fit-1/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "broken")]
    assert last[0]["global_step"] == last[1]["global_step"] == 3 * STEPS
    for name, weight in last[0]["state_dict"].items():
        torch.testing.assert_close(last[1]["state_dict"][name], weight, rtol=0, atol=1e-5)

    refused = fit("broken", 5, 1)
    assert refused.returncode == 2
    assert refused.stderr.count("error: ") == 1, refused.stderr
    assert "error: expected data.global_batch_size in equal shares for 5 devices, found 12; change" in refused.stderr
    assert "Traceback" not in refused.stderr


class StopsInValidation(CaptioningToy):
    """Its first process gets SIGTERM in the validation after step 4, if STOPS is set."""

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if os.environ.get("STOPS") and self.global_step == 4 and self.global_rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_run_stopped_in_a_validation_goes_on_with_other_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation comes first; the steps of two batches on one device are those of one on each of two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTES", "none")
    Path("data/corpus/uneven").mkdir(parents=True)
    pack_counts(Path("data/corpus/uneven"), [13, 5, 21, 8, 17, 3, 11])
    data = CONFIG["data"]["init_args"] | {"val": "corpus/uneven", "batch_size": 6, "eval_batch_size": 5}
    toy = CONFIG | {
        "model": {"class_path": "tests.test_elastic.StopsInValidation"},
        "data": CONFIG["data"] | {"init_args": data | {"global_batch_size": 12}},
    }
    Path("toy.yaml").write_text(yaml.safe_dump(toy))
    more = ["--trainer.val_check_interval", "4", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1"]
    assert fit("whole", 1, 0, None, *more).returncode == 0
    monkeypatch.setenv("STOPS", "yes")
    stopped = fit("broken", 2, 0, None, *more)
    assert stopped.returncode == 143, stopped.stderr
    monkeypatch.delenv("STOPS")
    assert torch.load("runs/broken/fit-1/checkpoints/last.ckpt", weights_only=True)["in_validation"]
    ended = fit("broken", 1, 0, None, *more)
    assert ended.returncode == 0, ended.stderr
    logged = []
    for run in ("whole", "broken"):
        with open(f"runs/{run}/fit-1/metrics.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["val/loss"]]
        logged.append([(row["step"], pytest.approx(float(row["val/loss"]), rel=1e-4)) for row in rows])
    assert logged[0] == logged[1] and [step for step, _ in logged[0]] == ["3", "9"]
    last = [torch.load(f"runs/{run}/fit-1/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "broken")]
    assert last[0]["global_step"] == last[1]["global_step"] == 12
    torch.testing.assert_close(last[1]["state_dict"], last[0]["state_dict"], rtol=1e-5, atol=1e-7)
