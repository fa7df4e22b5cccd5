import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from lightning.pytorch import loggers
from wandb_file import history, of_kind

from callbacks import wandb_logger
from callbacks.wandb_logger import WandbLogger


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder, a home without a key, and W&B's variables as they were afterwards."""
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.chdir(tmp_path)
    wandb.teardown()  # forget what an earlier test's settings were
    return tmp_path / "runs" / "toy" / "fit-1"


def test_offline_without_a_key_in_the_run_folder(folder: Path, capfd: pytest.CaptureFixture) -> None:
    logger = WandbLogger(str(folder))
    logger.log_hyperparams({"width": 3})
    logger.log_metrics({"train/loss": 0.5}, step=7)
    logger.log_table("captions", columns=["clip_id", "caption"], data=[["a", "a bell rings"]], step=8)
    logger.finalize("success")

    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("W&B: offline (no key")
    assert "wandb sync" in said[0]
    rows = history(folder)
    assert {"train/loss": "0.5", "trainer/global_step": "7"}.items() <= rows[0].items()
    assert list(folder.glob("wandb/offline-run-*/files/media/table/captions*.table.json"))
    run = of_kind(folder, "run")[0]
    assert (run.project, run.display_name, run.run_group, run.job_type) == ("earshot", "toy/fit-1", "toy", "fit")
    outside = [path for path in folder.parents[2].rglob("*") if path.is_file() and folder not in path.parents]
    assert not outside


def test_the_group_is_the_argument_the_variable_or_the_run_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert WandbLogger(str(folder))._wandb_init["group"] == "toy"
    monkeypatch.setenv("WANDB_RUN_GROUP", "dali")
    assert WandbLogger(str(folder))._wandb_init["group"] == "dali"
    logger = WandbLogger(str(folder), group="mine", job_type="fit-Toy")
    assert (logger._wandb_init["group"], logger._wandb_init["job_type"]) == ("mine", "fit-Toy")


def test_a_resumed_run_is_the_same_run_and_another_is_not(folder: Path) -> None:
    ids = []
    for place in (folder, folder, folder.with_name("fit-2")):
        logger = WandbLogger(str(place))
        logger.log_metrics({"loss": 1.0}, step=0)
        ids.append(logger.version)
        logger.finalize("success")
    assert ids[0] == ids[1] != ids[2]
    assert len(history(folder.with_name("fit-2"))) == 1, "the next run went into this one"


def test_wandb_mode_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbLogger(str(folder))
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("success")
    assert len(history(folder)) == 1
    assert capfd.readouterr().err.startswith("W&B: offline (WANDB_MODE)")


def test_disabled_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = WandbLogger(str(folder))
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("success")
    assert not folder.exists()
    assert capfd.readouterr().err == ""


def test_a_bad_key_goes_offline(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    logger = WandbLogger(str(folder))
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("success")
    assert len(history(folder)) == 1
    said = capfd.readouterr().err.strip().splitlines()
    assert [line.split(":")[0] for line in said] == ["W&B", "W&B"]
    assert "WANDB_API_KEY invalid" in said[0]


def test_what_fails_later_is_told_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    logger = WandbLogger(str(folder))

    def fail(self: object, metrics: object, step: int | None = None) -> None:
        raise BrokenPipeError("the service is gone")

    logger.log_metrics({"loss": 1.0}, step=0)
    with monkeypatch.context() as patched:
        patched.setattr(loggers.WandbLogger, "log_metrics", fail)
        logger.log_metrics({"loss": 1.0}, step=1)
        logger.log_metrics({"loss": 1.0}, step=2)
    logger.log_hyperparams({"width": 3})
    logger.finalize("success")
    assert capfd.readouterr().err.count("the service is gone") == 1


def test_media_that_cannot_be_copied_are_told_once(folder: Path, capfd: pytest.CaptureFixture) -> None:
    logger = WandbLogger(str(folder))
    logger.log_metrics({"loss": 1.0}, step=0)
    shutil.rmtree(folder / "wandb" / "data")
    (folder / "wandb" / "data").touch()  # a file where the folder should be
    logger.log_export(export_of(folder), "model", {})
    logger.log_table("captions", columns=["clip_id"], data=[["a"]], step=1)
    logger.log_image("figure", [str(folder / "no.png")], step=1)
    logger.alert("a title", "a text")
    logger.finalize("success")
    assert capfd.readouterr().err.count("stopped, the run goes on without it") == 1


def test_an_export_that_is_large_is_logged_by_reference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_logger, "SMALL", 4)
    logger = WandbLogger(str(folder))
    logger.log_export(export_of(folder), "model", {"step": 3})
    logger.finalize("success")
    (artifact,) = of_kind(folder, "artifact")
    entries = {entry.path: entry for entry in artifact.manifest.contents}
    assert artifact.name == "toy" and json.loads(artifact.metadata)["step"] == 3
    assert entries["small.json"].local_path and not entries["small.json"].ref
    assert entries["model.safetensors"].ref == export_of(folder).absolute().joinpath("model.safetensors").as_uri()
    assert entries["model.safetensors"].digest == base64.b64encode(hashlib.md5(b"weights").digest()).decode()


def test_only_online_are_exports_looked_up(folder: Path, capfd: pytest.CaptureFixture) -> None:
    asked = []

    def use_artifact(name: str) -> None:
        asked.append(name)
        if name.startswith("unknown"):
            raise ValueError("no such artifact")

    logger = WandbLogger(str(folder))
    for offline in (True, False):
        logger._experiment = SimpleNamespace(disabled=False, offline=offline, use_artifact=use_artifact)
        logger.use_exports({"exports/toy": {"digest": "abc"}, "exports/unknown": {"digest": "def"}})
    assert asked == ["toy:abc", "unknown:def"]
    assert "no artifact of exports/unknown to draw a line from: no such artifact" in capfd.readouterr().err
    assert not logger.stopped


def export_of(folder: Path) -> Path:
    """A folder with two files, beside the runs."""
    export = folder.parents[2] / "exports" / "toy"
    export.mkdir(parents=True, exist_ok=True)
    (export / "model.safetensors").write_bytes(b"weights")
    (export / "small.json").write_text("{}")
    return export


def test_nothing_starts_a_run_that_cannot_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    folder.parent.mkdir(parents=True)
    folder.touch()  # a file where the folder should be
    logger = WandbLogger(str(folder))
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("success")
    assert "the run goes on without it" in capfd.readouterr().err
    assert os.environ.get("WANDB_MODE") is None


KILLED = """
import os, signal, subprocess, sys
from callbacks.wandb_logger import WandbLogger

logger = WandbLogger(sys.argv[1])
logger.log_metrics({"loss": 1.0}, step=0)
listed = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
(service,) = [int(line.split()[0]) for line in listed.splitlines() if "wandb-core" in line]
os.kill(service, signal.SIGTERM)
os.waitpid(service, 0)
logger.log_metrics({"loss": 2.0}, step=1)
logger.finalize("failed")
"""


def test_a_signal_to_wandbs_own_process_is_told_in_one_line(folder: Path) -> None:
    """SLURM sends SIGTERM to all processes of a job; W&B's own ends at once."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "WANDB_MODE": "offline"}
    command = [sys.executable, "-c", KILLED, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("W&B: stopped, the run goes on without it: ") == 1
    assert "Traceback" not in done.stderr
