import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from callbacks.resuming import AtomicCheckpointIO
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
