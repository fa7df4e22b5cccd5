"""Where the commands write, and what they start from."""

from pathlib import Path

import pytest
import torch
import yaml
from toy_command import metrics, run, start

pytestmark = pytest.mark.usefixtures("toy_folder")


def test_fit_fills_one_folder_and_the_next_fit_another() -> None:
    run("fit")
    written = sorted(str(path.relative_to("runs")) for path in Path("runs").rglob("*") if path.is_file())
    in_folder = [
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "config.yaml",
        "hparams.yaml",
        "metrics.csv",
    ]
    assert written == [f"toy/fit-1/{name}" for name in in_folder]
    assert sum(row["train/loss"] != "" for row in metrics("toy/fit-1")) == 3 * 8
    assert yaml.safe_load(Path("runs/toy/fit-1/config.yaml").read_text())["seed_everything"] == 42

    run("fit --trainer.max_epochs 1")
    assert sorted(path.name for path in Path("runs/toy").iterdir()) == ["fit-1", "fit-2"]
    first = metrics("toy/fit-1")[: len(metrics("toy/fit-2"))]
    assert metrics("toy/fit-2") == first, "the same seed gave another curve"


def test_an_epoch_may_be_shorter_than_the_logging_interval(recwarn: pytest.WarningsRecorder) -> None:
    run("fit --trainer.max_epochs 1 --trainer.log_every_n_steps 50")
    assert not [each for each in recwarn if "logging interval" in str(each.message)]


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_the_other_commands_start_from_the_export(command: str, capsys: pytest.CaptureFixture) -> None:
    run("fit --trainer.max_epochs 1")
    run(command)
    assert Path(f"runs/toy/{command}-1/config.yaml").is_file()
    assert not list(Path("runs/toy").glob("fit-2"))
    if command == "test":
        trained = torch.load("runs/toy/fit-1/checkpoints/best.ckpt", weights_only=True)["state_dict"]
        assert float(metrics("toy/test-1")[0]["test/weight"]) == pytest.approx(trained["layer.weight"].sum().item())


def test_two_ranks_share_one_folder() -> None:
    done = start("fit --trainer.devices 2 --trainer.strategy ddp --trainer.max_epochs 1")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in Path("runs/toy").iterdir()] == ["fit-1"]
    assert sum(row["train/loss"] != "" for row in metrics("toy/fit-1")) == 8
    assert Path("exports/toy/provenance.json").is_file()


def test_a_checkpoint_does_not_override_the_yaml() -> None:
    run("fit --trainer.max_epochs 1")
    run("test --ckpt_path last --model.init_args.scale 2.0")
    assert float(metrics("toy/test-1")[0]["test/scale"]) == 2.0
