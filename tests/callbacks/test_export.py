import json
import os
import socket
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file, save_file
from torch import Tensor

from callbacks.csv_logger import CSVLogger
from callbacks.export import Export
from callbacks.finite_loss import FiniteLoss
from callbacks.resuming import LastCheckpoint
from earshot.errors import InputError
from tests.toys import ExportingStage, ToyData, ToyStage


class BestInTheMiddle(ExportingStage):
    """Its validation loss is lowest after the second of three epochs."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", abs(self.current_epoch - 1.0))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trainer(export: Export, *callbacks: L.Callback, **options: object) -> L.Trainer:
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "max_epochs": 3,
    }
    folder = "runs/toy/fit-1"
    logger = CSVLogger(folder)
    return L.Trainer(callbacks=[export, *callbacks], logger=logger, default_root_dir=folder, **(quiet | options))


def fit(stage: L.LightningModule, *callbacks: L.Callback, **options: object) -> None:
    trainer(Export("toy"), *callbacks, **options).fit(stage, ToyData())


def best() -> ModelCheckpoint:
    return ModelCheckpoint(monitor="val/loss", filename="best")


def test_the_best_weights_not_the_last() -> None:
    fit(BestInTheMiddle(), best(), ModelCheckpoint(filename="last"))
    exported = load_file("exports/toy/model.safetensors")
    for name, same in (("best", True), ("last", False)):
        saved = torch.load(f"runs/toy/fit-1/checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
        assert torch.equal(exported["weight"], saved["layer.weight"]) is same
    provenance = json.loads(Path("exports/toy/provenance.json").read_text())
    assert provenance["run_folder"] == "runs/toy/fit-1"
    assert provenance["checkpoint"] == "runs/toy/fit-1/checkpoints/best.ckpt"
    assert (provenance["val/loss"], provenance["epoch"], provenance["step"]) == (0.0, 1, 16)
    assert provenance["torch"] == torch.__version__.split("+")[0]


def test_a_model_card_in_place_of_the_form_that_a_library_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithForm(ExportingStage):
        """Learns a line."""

        def export(self, folder: Path) -> None:
            super().export(folder)
            (folder / "README.md").write_text("[More Information Needed]")

    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py", "fit", "--run_name", "a toy"])
    Path("runs/toy/fit-1").mkdir(parents=True)
    Path("runs/toy/fit-1/config.yaml").write_text("model: {class_path: Line}\ntrainer: {max_epochs: 1}\n")
    fit(WithForm(), best(), max_epochs=1)
    card = Path("exports/toy/README.md").read_text()
    said = (
        "# toy",
        "WithForm",
        "Learns a line.",
        "python train.py fit --run_name 'a toy'",
        "model.safetensors",
        "best.ckpt",
    )
    assert all(text in card for text in (*said, "class_path: Line"))
    assert "More Information" not in card and "max_epochs" not in card.split("```yaml")[1]


def test_the_card_that_a_stage_writes_is_kept() -> None:
    class WithCard(ExportingStage):
        def export(self, folder: Path) -> None:
            super().export(folder)
            (folder / "README.md").write_text("---\ntags: [line]\n---\nA line.\n")

    fit(WithCard(), max_epochs=1)
    assert Path("exports/toy/README.md").read_text().startswith("---\ntags: [line]\n---\nA line.\n\n# toy\n")


def test_without_a_checkpoint_the_final_weights() -> None:
    stage = ExportingStage()
    fit(stage, enable_checkpointing=False)
    torch.testing.assert_close(load_file("exports/toy/model.safetensors")["weight"], stage.layer.weight.data)
    assert json.loads(Path("exports/toy/provenance.json").read_text())["checkpoint"] is None


def test_a_new_export_replaces_all_of_the_old() -> None:
    Path("exports/toy").mkdir(parents=True)
    Path("exports/toy/stale.bin").touch()
    Path(f"exports/.toy.{socket.gethostname()}-{os.getpid()}.partial").mkdir()  # of a run that was killed here
    fit(ExportingStage(), max_epochs=1)
    left = {path.name for path in Path("exports/toy").iterdir()}
    assert left == {"model.safetensors", "provenance.json", "README.md"}
    assert [path.name for path in Path("exports").iterdir()] == ["toy"]


def test_a_failing_export_leaves_the_old() -> None:
    class Failing(ExportingStage):
        def export(self, folder: Path) -> None:
            raise OSError("disk full")

    Path("exports/toy").mkdir(parents=True)
    Path("exports/toy/old.bin").touch()
    with pytest.raises(OSError, match="disk full"):
        fit(Failing(), max_epochs=1)
    assert Path("exports/toy/old.bin").exists()


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {}])
def test_nothing_to_export(options: dict[str, bool]) -> None:
    fit(ExportingStage() if options else ToyStage(), max_epochs=1, **options)
    assert not Path("exports").exists()


def exported_ones() -> ToyStage:
    Path("exports/toy").mkdir(parents=True)
    save_file({"weight": torch.ones(3, 4), "bias": torch.zeros(3)}, "exports/toy/model.safetensors")
    return ExportingStage()


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_other_commands_load_it(command: str) -> None:
    stage = exported_ones()
    getattr(trainer(Export("toy")), command)(stage, datamodule=ToyData())
    assert torch.equal(stage.layer.weight.data, torch.ones(3, 4))


def test_another_run_is_a_source() -> None:
    stage = exported_ones()
    trainer(Export("other", source="exports/toy")).test(stage, datamodule=ToyData())
    assert torch.equal(stage.layer.weight.data, torch.ones(3, 4))


def test_fit_does_not_load_it() -> None:
    stage = exported_ones()
    first = stage.layer.weight.data.clone()
    stage.on_train_start = lambda: torch.testing.assert_close(stage.layer.weight.data, first)
    fit(stage, max_epochs=1)


def test_pretrained_weights_on_request() -> None:
    stage = exported_ones()
    trainer(Export("toy", load=False)).test(stage, datamodule=ToyData())
    assert not torch.equal(stage.layer.weight.data, torch.ones(3, 4))


def test_a_checkpoint_goes_first() -> None:
    fit(ExportingStage(), best(), max_epochs=1)
    saved = torch.load("runs/toy/fit-1/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    save_file({"weight": torch.ones(3, 4), "bias": torch.zeros(3)}, "exports/toy/model.safetensors")
    stage = ExportingStage()
    for source in (None, "exports/none"):  # whether there is an export or not
        trainer(Export("toy", source=source)).test(stage, ToyData(), ckpt_path="runs/toy/fit-1/checkpoints/best.ckpt")
        assert torch.equal(stage.layer.weight.data, saved["layer.weight"])


@pytest.mark.parametrize("empty_folder", [False, True])  # Snakemake makes the folder of what a fit will write
def test_a_missing_export_says_which_command_makes_it(empty_folder: bool) -> None:
    if empty_folder:
        Path("exports/toy").mkdir(parents=True)
    with pytest.raises(InputError, match="expected exports/toy/, found nothing; run: python train.py fit --config"):
        trainer(Export("toy")).test(ExportingStage(), datamodule=ToyData())
    trainer(Export("toy")).test(ToyStage(), datamodule=ToyData())  # hands nothing over


def test_what_is_not_trained_or_not_finite_replaces_nothing() -> None:
    fit(ExportingStage(), best())
    before = load_file("exports/toy/model.safetensors")["weight"]
    with pytest.raises(InputError, match="found no step; raise max_steps"):
        fit(ExportingStage(), max_steps=0)
    broken = ExportingStage()
    with torch.no_grad():
        broken.layer.bias[1] = torch.nan
    with pytest.raises(InputError, match=r"expected finite weights to export to exports/toy/, found others in layer\."):
        fit(broken, limit_val_batches=0)
    assert torch.equal(load_file("exports/toy/model.safetensors")["weight"], before)


def test_a_loss_that_is_no_number_stops_the_run_before_its_state_is_saved() -> None:
    class Diverging(ExportingStage):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (torch.nan if self.current_epoch == 1 else 1.0)

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("val/loss", self.layer.weight.sum() * 0 + 1)

    with pytest.raises(InputError, match="expected a finite train/loss, found nan in step 9 .epoch 2."):
        fit(Diverging(), FiniteLoss(), LastCheckpoint(every_n_train_steps=100))
    last = torch.load("runs/toy/fit-1/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 0 and last["state_dict"]["layer.weight"].isfinite().all()
    assert not Path("exports/toy").exists()
