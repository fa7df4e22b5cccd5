import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from callbacks.resuming import AtomicCheckpointIO, LastCheckpoint
from earshot.errors import InputError
from train import main


def test_a_kill_in_mid_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}

    written = []

    def die_half_way(checkpoint: dict, file: Path) -> None:
        file.write_bytes(b"PK\x03\x04 half")
        written.append(file)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    # written in the same folder, so that the rename never crosses file systems
    assert [other.parent for other in written] == [path.parent]

    AtomicCheckpointIO().save_checkpoint({"step": 3}, path)
    assert torch.load(path, weights_only=True) == {"step": 3}
    assert list(path.parent.iterdir()) == [path]


def test_a_run_that_goes_on_in_another_folder_keeps_the_best_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    toy = {"run_name": "toy", "model": "tests.toys.WorseningStage", "data": "tests.toys.ToyData"}
    Path("toy.yaml").write_text(yaml.safe_dump(toy))
    fit = ["fit", "--config", "toy.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs"]
    main([*fit, "1"])
    first = Path("runs/toy/fit-1/checkpoints")
    best = torch.load(first / "best.ckpt", weights_only=True)
    (first / "last.ckpt").rename("kept.ckpt")
    main([*fit, "3", "--ckpt_path", "kept.ckpt"])
    with open("runs/toy/fit-2/metrics.csv", newline="") as file:
        assert [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]] == [16, 24]
    origin = json.loads(Path("exports/toy/provenance.json").read_text())
    assert (origin["checkpoint"], origin["val/loss"]) == (str(first / "best.ckpt"), 8)
    torch.testing.assert_close(load_file("exports/toy/model.safetensors")["weight"], best["state_dict"]["layer.weight"])
    assert (first / "best.ckpt").is_file()


@pytest.mark.parametrize("more", [["limit_val_batches", "0"], ["check_val_every_n_epoch", "3"], ["precision", "32"]])
def test_the_last_checkpoint_is_of_whole_steps(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two batches each, also where a validation might come in the middle of one, or after it, and does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    saved, save = [], AtomicCheckpointIO.save_checkpoint

    def noting(self: AtomicCheckpointIO, checkpoint: dict, path: str, storage_options: object = None) -> None:
        if Path(path).name == "last.ckpt":
            batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
            saved.append((checkpoint["global_step"], batches))
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", noting)
    toy = {"run_name": "toy", "model": "tests.toys.ToyStage", "data": "tests.toys.ToyData"}
    Path("toy.yaml").write_text(yaml.safe_dump(toy))
    trainer = {"accelerator": "cpu", "max_epochs": 2, "accumulate_grad_batches": 2, more[0]: more[1]}
    for interval in ("0.5", "2", "3"):
        saved.clear()
        given = [f"--trainer.{name}={value}" for name, value in trainer.items()]
        given += ["--trainer.val_check_interval", interval, "--trainer.callbacks.every_n_train_steps", "1"]
        main(["fit", "--config", "toy.yaml", *given])
        assert saved == [(step, 2 * step) for step in range(1, 9)]


def test_the_best_checkpoint_of_half_a_step_is_tested_and_not_resumed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    toy = {"run_name": "toy", "model": "tests.toys.ToyStage", "data": "tests.toys.ToyData"}
    Path("toy.yaml").write_text(yaml.safe_dump(toy | {"trainer": {"accelerator": "cpu", "max_epochs": 1}}))
    two = ["--trainer.accumulate_grad_batches", "2"]
    main(["fit", "--config", "toy.yaml", *two, "--trainer.val_check_interval", "7"])
    best = torch.load("runs/toy/fit-1/checkpoints/best.ckpt", weights_only=True)
    assert best["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"] == 7
    main(["test", "--config", "toy.yaml", "--ckpt_path", "best"])
    for more in (two, []):
        path = "runs/toy/fit-1/checkpoints/best.ckpt"
        with pytest.raises(SystemExit) as ended:
            main(["fit", "--config", "toy.yaml", *more, "--ckpt_path", path, "--trainer.max_epochs", "2"])
        assert ended.value.code == 2
        assert "after a whole step of 2 batches, found one after 7 batches of an epoch" in capsys.readouterr().err
    last = "runs/toy/fit-1/checkpoints/last.ckpt"
    main(["fit", "--config", "toy.yaml", *two, "--ckpt_path", last, "--trainer.max_epochs", "2"])


def test_ranks_do_not_validate_each_by_its_own_clock() -> None:
    with pytest.raises(InputError, match="on several devices, found a time"):
        LastCheckpoint().setup(SimpleNamespace(world_size=2, _val_check_time_interval=3600.0), None, "fit")


def test_saving_after_no_step_is_refused() -> None:
    with pytest.raises(InputError, match="expected every_n_train_steps of at least 1, found 0"):
        LastCheckpoint(every_n_train_steps=0)
