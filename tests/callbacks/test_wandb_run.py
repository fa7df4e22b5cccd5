"""What W&B gets of a fit, a prediction and a test by the real command, read from the offline files."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import wandb
import yaml
from conftest import REPOSITORY
from PIL import Image
from wandb_file import config, history, of_kind

from callbacks.lineage import made_from
from earshot.digests import path_digest
from train import main

KEY = "0123456789abcdef" * 2 + "01234567"  # as long as W&B's, and nobody's


@pytest.fixture()
def toy(in_tmp_path: Path, world_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of the toy stage on the small world, and a key that belongs nowhere."""
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.teardown()
    data = {"root": str(world_root), "max_clips": 40, "num_workers": 0, "batch_size": 20, "train": "audiocaps/train"}
    data |= {"val": "audiocaps/test", "test": "audiocaps/test", "predict": "audiocaps/test"}
    settings = {
        "run_name": "encoder",
        "model": {"class_path": "captioning_toy.CaptioningToy"},
        "data": {"class_path": "miniature.Miniature", "init_args": data},
        "evaluation": {"java": False},
        "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "log_every_n_steps": 1},
    }
    path = in_tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def run(command: str, toy: Path, *more: str) -> None:
    main([command, "--config", str(toy), *more])


def test_fit_and_test_leave_names_steps_tables_and_media(toy: Path, world_root: Path) -> None:
    run("fit", toy)
    run("test", toy, "--evaluation.wandb_clips", "12", "--evaluation.report_clips", "20")
    fit, test = Path("runs/encoder/fit-1"), Path("runs/encoder/test-1")

    described = [(run.project, run.display_name, run.run_group, run.job_type) for run in of_kind(fit, "run")]
    assert described == [("earshot", "encoder/fit-1", "encoder", "fit-CaptioningToy")]
    assert [run.job_type for run in of_kind(test, "run")] == ["test-CaptioningToy"]
    axes = {each.glob_name or each.name: each for each in of_kind(fit, "metric")}
    assert axes["*"].step_metric == axes["val/loss"].step_metric == "trainer/global_step" in axes
    assert axes["val/loss"].summary.min

    rows = history(fit)
    assert all("trainer/global_step" in row for row in [*rows, *history(test)])
    losses = {int(row["trainer/global_step"]): row for row in rows if "train/loss" in row}
    assert list(losses) == [0, 1, 2, 3]
    assert [int(row["trainer/global_step"]) for row in rows if "val/loss" in row] == [1, 3]
    logged = config(fit)
    assert logged["run_name"] == "encoder" and logged["model"]["class_path"] == "captioning_toy.CaptioningToy"

    scores = json.loads((test / "scores.json").read_text())
    row = next(row for row in history(test) if "test/cider_d" in row)
    assert float(row["test/cider_d"]) == pytest.approx(scores["cider_d"]) and row["test/num_clips"] == "40"
    assert config(test)["made_by"] == scores["made_by"]

    table, files = clips_table(test)
    names = ["clip_id", "audio", "frame", "caption", "references"]
    assert table["columns"][:5] == names and {"cider_d", "rouge_l"} <= set(table["columns"][5:])
    assert len(table["data"]) == 12
    page = (test / "report.html").read_text()
    for clip_id, audio, frame, caption, references, *numbers in table["data"]:
        sound = soundfile.info(files[audio["path"]])  # a copy: the files that were logged are gone
        assert sound.duration > 1 and Image.open(files[frame["path"]]).size[0] > 10
        assert caption.endswith("sounds") and references
        assert numbers[table["columns"].index("cider_d") - 5] >= 0
        assert clip_id in page
    ids = {line[0] for line in table["data"]}
    assert len(ids) == 12
    whole = next(path for path in test.glob("wandb/offline-run-*/files/media/table/test/captions*.json"))
    assert len(json.loads(whole.read_text())["data"]) == 40


def clips_table(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The table test/clips of a run, and where each file of it lies until it is sent."""
    artifact = next(each for each in of_kind(folder, "artifact") if each.name.partition("-test")[2].startswith("clips"))
    files = {entry.path: entry.local_path for entry in artifact.manifest.contents}
    name = next(name for name in files if name.endswith("clips.table.json"))
    return json.loads(Path(files[name]).read_text()), files


def test_a_projector_names_the_captions_and_these_the_encoder(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoder, pseudo-captions made by it, projector made of both: every note has the whole chain."""
    monkeypatch.setenv("WANDB_RUN_GROUP", "chain")
    short = ("--trainer.max_epochs", "1")
    run("fit", toy, *short)
    table = "[{class_path: callbacks.predict_table.PredictTable}]"
    run("predict", toy, "--run_name", "pseudo", "--export.source", "exports/encoder", "--trainer.callbacks+", table)
    captions = "exports/pseudo/captions.csv"
    reads = ("--model.encoder", "exports/encoder", "--data.captions", captions, "--data.train", "audiocaps/test")
    run("fit", toy, *short, "--run_name", "projector", *reads)

    encoder, pseudo, projector = (Path("exports", name) for name in ("encoder", "pseudo", "projector"))
    cost = {each: json.loads((each / "provenance.json").read_text())["costs"] for each in (encoder, pseudo)}
    assert cost[encoder]["seconds"] > 0 and cost[pseudo]["captions"] > 0
    first = {"digest": path_digest(encoder), "costs": cost[encoder]}
    second = {"digest": path_digest(pseudo), "costs": cost[pseudo], "made_from": {"exports/encoder": first}}
    chain = {"exports/encoder": first, "exports/pseudo": second}
    assert first["digest"] != second["digest"]
    assert json.loads((projector / "provenance.json").read_text())["made_from"] == chain
    assert f"exports/pseudo ({second['digest']})" in (projector / "README.md").read_text()
    assert config(Path("runs/projector/fit-1"))["made_from"] == chain
    assert config(Path("runs/pseudo/predict-1"))["made_from"] == {"exports/encoder": first}
    assert config(Path("runs/encoder/fit-1"))["made_from"] == {}

    kinds = {"encoder/fit-1": "model", "pseudo/predict-1": "dataset", "projector/fit-1": "model"}
    for place, kind in kinds.items():
        artifact = next(each for each in of_kind(Path("runs", place), "artifact") if each.type == kind)
        export = Path("exports", place.partition("/")[0])
        assert artifact.name == export.name and path_digest(export) in artifact.aliases
        note = json.loads((export / "provenance.json").read_text())
        assert json.loads(artifact.metadata) == {"digest": path_digest(export), **note}
        copied = {entry.path: Path(entry.local_path).read_bytes() for entry in artifact.manifest.contents}
        assert copied == {path.name: path.read_bytes() for path in export.iterdir() if path.is_file()}
        assert [run.run_group for run in of_kind(Path("runs", place), "run")] == ["chain"]

    shutil.rmtree(encoder)  # the chain is known without what it began with
    assert made_from({"nested": [{"export": str(projector)}]})["exports/projector"]["made_from"] == chain


def test_a_loss_that_is_no_number_raises_an_alert(toy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("fit", toy, "--model.fail_at", "1")
    assert "expected a finite train/loss, found nan" in capfd.readouterr().err
    alerts = of_kind(Path("runs/encoder/fit-1"), "alert")
    ((title, text),) = [(each.title, each.text) for each in alerts]
    assert title == "train/loss is nan"
    assert re.fullmatch(r"in step 2 \(epoch 1\) with the clips .+: the run stops", text)


def test_the_key_is_in_no_file(toy: Path, in_tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("fit", toy, "--trainer.max_epochs", "1")
    wandb.teardown()  # its logs are written
    files = [path for name in ("runs", "exports") for path in (in_tmp_path / name).rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    said = capfd.readouterr()
    assert KEY not in said.out + said.err


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("killed", "the run goes on without it"),
        ("full", "offline (WANDB_MODE)"),
        pytest.param("unreachable", "cannot start, trying offline", marks=pytest.mark.slow),  # W&B tries for 30 s
    ],
)
def test_no_fault_of_wandb_ends_a_training_run(fault: str, told: str, toy: Path) -> None:
    """The service is killed, its file meets a full disk (a limit on sizes), or no server is at the address."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}",
        "OMP_NUM_THREADS": "1",
    }
    more, limit = [], resource.RLIM_INFINITY
    if fault == "killed":
        more = ["--trainer.callbacks+", "captioning_toy.EndService"]
    elif fault == "full":
        limit = 8 * 1024  # above every other file of the run
    else:
        environment |= {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "train.py"), "fit", "--config", str(toy), *more],
        env=environment, capture_output=True, text=True, timeout=280,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert told in done.stderr and ("killed the service" in done.stdout) == (fault == "killed")
    if fault == "full":
        (file,) = Path("runs/encoder/fit-1").glob("wandb/offline-run-*/*.wandb")
        assert file.stat().st_size == limit  # W&B did meet it
    assert Path("exports/encoder/model.safetensors").is_file()
    losses = [line for line in Path("runs/encoder/fit-1/metrics.csv").read_text().splitlines() if line]
    assert len(losses) >= 1 + 4 and KEY not in done.stdout + done.stderr
