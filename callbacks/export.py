"""What a stage learnt, handed over: exports/<run_name>/, written by fit, used by test and predict."""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from earshot.errors import InputError, command_that_makes

PACKAGES = ("torch", "lightning", "transformers")


class Export(L.Callback):
    """At the end of fit, the weights with the lowest validation loss become exports/<run_name>/.

    `validate`, `test` and `predict` start from that folder unless --ckpt_path says otherwise. The stage says
    how: `export(folder)` fills an empty folder, `load_export(folder)` takes the weights from one. Nothing
    happens for a stage without these, nor in a `fast_dev_run`.

    Args:
        run_name: names the folder; train.py links it to the run's.
        root: parent of the exports.
        load: False leaves validate, test and predict the weights that the YAML names, as pretrained.
        source: another run's export for these to start from.
    """

    def __init__(self, run_name: str, root: str = "exports", load: bool = True, source: str | None = None) -> None:
        self.folder = Path(root) / run_name
        self.load = load
        self.source = self.folder if source is None else Path(source)

    def require_source(self, pl_module: L.LightningModule) -> None:
        """Say when there is nothing to start from; train.py asks before anything is loaded.

        Raises:
            InputError: the stage starts from an export, and there is none.
        """
        if self.load and hasattr(pl_module, "load_export") and not self.source.is_dir():
            raise InputError(
                f"expected {self.source}/, found nothing; run: {command_that_makes(self.source)}, "
                "or start from --ckpt_path, or with --export.load false from the pretrained weights"
            )

    def _load(self, trainer: L.Trainer, pl_module: Any) -> None:
        fitting = trainer.state.fn == "fit"
        if self.load and not fitting and trainer.ckpt_path is None and hasattr(pl_module, "load_export"):
            self.require_source(pl_module)
            pl_module.load_export(self.source)
            rank_zero_info(f"Weights of {self.source}/")

    # not in `setup`: the stage's own, which may build what is loaded, runs after the callbacks', and ckpt_path is not
    # known there yet
    on_validation_start = on_test_start = on_predict_start = _load

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the folder on rank 0, after the strategy has handed the module back."""
        if hasattr(pl_module, "export") and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            run_folder = trainer.log_dir  # asked on all ranks: it is broadcast
            if trainer.is_global_zero:
                self._write(trainer, pl_module, run_folder)
            trainer.strategy.barrier("export")

    def _write(self, trainer: L.Trainer, pl_module: Any, run_folder: str | None) -> None:
        origin = load_best(trainer, pl_module)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        new, old = (self.folder.with_name(f".{self.folder.name}.{kind}") for kind in ("new", "old"))
        shutil.rmtree(new, ignore_errors=True)  # left by a kill
        new.mkdir()
        pl_module.export(new)
        provenance = {"run_folder": run_folder, **origin, **surroundings()}
        (new / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(old)  # a folder can only be renamed over an empty one
        new.rename(self.folder)
        shutil.rmtree(old, ignore_errors=True)
        rank_zero_info(f"Exported to {self.folder}/")


def load_best(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
    """Give the module the weights of the best checkpoint, where there is one; where its weights are from."""
    monitoring = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor]
    for callback in monitoring:
        path = Path(callback.best_model_path)
        if path.is_file():
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            pl_module.on_load_checkpoint(checkpoint)
            pl_module.load_state_dict(checkpoint["state_dict"], strict=pl_module.strict_loading)
            score = math.nan if callback.best_model_score is None else callback.best_model_score.item()
            return {
                "checkpoint": os.path.relpath(path),
                str(callback.monitor): score if math.isfinite(score) else None,
                "epoch": checkpoint["epoch"],
                "step": checkpoint["global_step"],
            }
    rank_zero_info("No checkpoint of the lowest validation loss: the export holds the final weights")
    return {"checkpoint": None, "epoch": trainer.current_epoch, "step": trainer.global_step}


def surroundings() -> dict[str, Any]:
    """The command, the commit where there is one, and the versions."""
    ask = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    git = subprocess.run(ask, capture_output=True, text=True, check=False)
    return {
        "command": " ".join(sys.argv),
        "commit": git.stdout.strip() if git.returncode == 0 else None,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
