"""Pseudo-captions through the real command: killed with two ranks, resumed, made by something else."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import yaml
from conftest import REPOSITORY, arguments

from callbacks.export import Export
from callbacks.predict_table import made_by, write_rows
from callbacks.predict_table import written as table_lines
from earshot.errors import InputError
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from tests.toys import ExportingStage, ToyData
from train import main


@pytest.fixture()
def overlay(in_tmp_path: Path) -> Path:
    """Weights that are there without training, few clips, and time to kill."""
    path = in_tmp_path / "overlay.yaml"
    content = {
        "model": {"init_args": {"captioner": {"init_args": {"prefix": "assets/miniature/prefix", "inputs": "audio"}}}},
        "data": {"init_args": {"predict": "audiocaps/test", "eval_batch_size": 3}},
        "export": {"load": False, "source": None},
        "trainer": {"callbacks+": [{"class_path": "slow_callback.Slow"}]},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def command(world_root: Path, overlay: Path, *more: str) -> list[str]:
    return ["predict", *arguments(world_root, "--config", str(overlay), *more, config="pseudo_captions.yaml")]


def table(name: str) -> dict[str, str]:
    with open(f"exports/{name}/captions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["clip_id"] for row in rows})
    return {row["clip_id"]: row["caption"] for row in rows}


@pytest.mark.slow
def test_killed_with_two_ranks_it_goes_on_without_loss_or_repeat(
    world_root: Path, overlay: Path, in_tmp_path: Path
) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
        "OMP_NUM_THREADS": "1",
    }
    two = command(world_root, overlay, "--run_name", "two", "--trainer.devices", "2", "--trainer.strategy", "ddp")

    def start() -> subprocess.Popen:
        line = [sys.executable, str(REPOSITORY / "train.py"), *two]
        with open(in_tmp_path / "log", "a") as log:  # a session of its own: both ranks are killed at once
            return subprocess.Popen(line, env=environment, stdout=log, stderr=log, start_new_session=True)

    killed, deadline = start(), time.monotonic() + 150
    written: dict = {}
    while len({path.name for path in in_tmp_path.glob("exports/two/parts-*/*") if path.stat().st_size}) < 2 or (
        len(written) < 9
    ):
        assert killed.poll() is None and time.monotonic() < deadline, (in_tmp_path / "log").read_text()
        time.sleep(0.05)
        written = {key: row for parts in in_tmp_path.glob("exports/two/parts-*") for key, row in table_lines(parts)}
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (parts,) = in_tmp_path.glob("exports/two/parts-*")
    written = dict(table_lines(parts))
    assert 9 <= len(written) < 40 and not (parts.parent / "captions.csv").exists()
    with open(parts / "rank-1.jsonl", "a") as file:
        file.write('["audiocaps-test-0000')  # a kill in mid-write

    resumed = start()
    assert resumed.wait(timeout=200) == 0, (in_tmp_path / "log").read_text()
    lines = [line for path in parts.iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == 40  # no clip twice, also not in the parts
    assert dict(table_lines(parts)).items() >= written.items()
    main(command(world_root, overlay, "--run_name", "one"))
    assert table("two") == table("one") and len(table("one")) == 40


def test_the_same_command_again_adds_nothing_and_another_begins_anew(
    world_root: Path, overlay: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("--data.eval_batch_size", "40")
    main(command(world_root, overlay, *quick))
    name = "pseudo_captions_attentive_ot"
    first = table(name)
    (parts,) = in_tmp_path.glob(f"exports/{name}/parts-*")
    main(command(world_root, overlay, *quick))
    assert table(name) == first and len((parts / "rank-0.jsonl").read_text().splitlines()) == 40
    shutil.copytree("assets/miniature/prefix", "other")
    main(
        command(
            world_root,
            overlay,
            *quick,
            "--model.captioner.prefix",
            "other",
            "--model.captioner.question",
            "What can you see ?",
        )
    )
    (anew,) = in_tmp_path.glob(f"exports/{name}/parts-*")
    assert anew != parts
    assert table(name).keys() == first.keys() and table(name) != first


def test_the_run_folder_of_a_resumed_prediction_has_all_captions(world_root: Path, in_tmp_path: Path) -> None:
    toy = {
        "model": {"class_path": "tests.captioning_toy.CaptioningToy"},
        "data": {
            "class_path": "miniature.clips.Miniature",
            "init_args": {
                "root": str(world_root), "predict": "audiocaps/test", "max_clips": 40, "num_workers": 0,
                "eval_batch_size": 16,
            },
        },
        "trainer": {"accelerator": "cpu", "callbacks+": [{"class_path": "callbacks.predict_table.PredictTable"}]},
        "export": {"load": False},
    }  # fmt: skip
    Path("toy.yaml").write_text(yaml.safe_dump(toy))
    predict = ["predict", "--config", "toy.yaml", "--run_name"]
    main([*predict, "whole"])
    main([*predict, "resumed", "--trainer.limit_predict_batches", "0.4"])  # of three
    main([*predict, "resumed"])
    main([*predict, "resumed"])  # nothing is left
    whole = Path("runs/whole/predict-1/captions.csv").read_bytes()
    files = [Path(f"runs/resumed/predict-{number}/captions.csv") for number in (1, 2, 3)]
    assert [len(file.read_bytes().splitlines()) for file in files] == [17, 41, 41]
    assert files[1].read_bytes() == files[2].read_bytes() == whole


class Says(ExportingStage):
    """A stage that says what its captions are made by."""

    made_by = {"question": "What can you hear ?"}

    def captions_made_by(self) -> dict[str, Any]:
        return self.made_by


class Clips(ToyData):
    """Data that say which clips there are."""

    digest = "clips"

    def num_predict_clips(self) -> int:
        return 1

    def num_broken_clips(self) -> int:
        return 0

    def predict_digest(self) -> str:
        return self.digest

    def leave_out(self, clip_ids: Collection[str]) -> None:
        pass


def digest(
    stage: L.LightningModule, data: L.LightningDataModule | None = None, precision: Any = "32-true", **options: Any
) -> str:
    trainer = L.Trainer(accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False)
    trainer.datamodule = Clips() if data is None else data  # type: ignore[attr-defined]
    return made_by(trainer, stage, Export("toy", **options), "captions.csv")


def test_all_that_decides_captions_names_their_folder(in_tmp_path: Path) -> None:
    source = in_tmp_path / "exports" / "toy"
    source.mkdir(parents=True)
    (source / "model.safetensors").write_bytes(b"weights")
    first = digest(Says())
    assert digest(Says()) == first
    (source / "README.md").write_text("about the weights")
    (source / "parts-0").mkdir()
    for rows in ("parts-0/rank-0.jsonl", "captions.csv"):  # predict of the same run_name, killed and started again
        (source / rows).write_text("clip_id")
    assert digest(Says()) == first
    other, clips = Says(), Clips()
    other.made_by = {"question": "What can you see ?"}
    clips.digest = "others"
    (in_tmp_path / "other").mkdir()
    (in_tmp_path / "other" / "model.safetensors").write_bytes(b"of another run")
    found = [digest(other), digest(Says(), clips), digest(Says(), load=False), digest(Says(), source="other")]
    found += [digest(Says(), precision=half) for half in ("bf16-mixed", "bf16-true")]
    (source / "model.safetensors").write_bytes(b"other weights")
    assert len({first, *found, digest(Says())}) == 8


def test_a_stage_that_no_longer_says_what_its_captions_are_made_by_is_refused(in_tmp_path: Path) -> None:
    class Renamed(ExportingStage):
        what_captions_are_made_by = Says.captions_made_by

    with pytest.raises(InputError, match="expected a stage whose test and predict steps return.*found Renamed"):
        digest(Renamed())
    with pytest.raises(InputError, match="as the datamodule, found ToyData"):
        digest(Says(), ToyData())


def test_rows_of_other_columns_are_named(in_tmp_path: Path) -> None:
    write_rows(Path("a.csv"), iter([{"clip_id": "a", "caption": "x"}]))
    with pytest.raises(InputError, match="expected the columns clip_id, caption in each row, found clip_id for 'b'"):
        write_rows(Path("a.csv"), iter([{"clip_id": "a", "caption": "y"}, {"clip_id": "b"}]))
    assert "x" in Path("a.csv").read_text()


def test_llava_says_all_that_decides_its_captions() -> None:
    """A new or renamed argument of the captioner is part of what captions are made by, but for how it trains."""
    decisive = signature(LlavaCaptioner).parameters.keys() - {"gradient_checkpointing", "sharded"}
    assert decisive == LlavaCaptioner("llava", inputs="image").made_by().keys()


def test_missing_inputs_name_their_command(
    world_root: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(*command: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(command))
        assert ended.value.code == 2
        return capsys.readouterr().err

    source = ("--export.source", "exports/dali_ot")
    said = error("predict", *arguments(world_root, *source, config="pseudo_captions.yaml"))
    assert "expected exports/dali_ot/" in said and "python train.py fit --config configs/dali_ot.yaml" in said
    said = error("fit", *arguments(world_root, config="distillation.yaml"))
    assert "exports/dali_attentive_ot" in said and "python train.py fit" in said
    encoder = ("--model.captioner.audio_encoder.init_args.pretrained_model_name_or_path", "assets/miniature/cav_mae")
    said = error("fit", *arguments(world_root, *encoder, config="distillation.yaml"))
    assert "python train.py predict --config configs/pseudo_captions.yaml" in said
    said = error(
        "test", *arguments(world_root, "--model.captioner.prefix", "exports/llava_prefix", "--export.load", "false")
    )
    assert "python train.py fit --config configs/llava_prefix.yaml" in said
