"""Exports of what a stage learnt: fit writes exports/<run_name>/, and test, predict and later stages load it."""

import json
import math
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from callbacks.costs import COSTS, costs_of
from callbacks.lineage import MADE_FROM, PROVENANCE, made_from
from callbacks.wandb_logger import WandbLogger
from datamodules.contracts import AudioEmbedder, CaptioningStage, ExportingStage
from earshot.atomic import atomic_folder
from earshot.errors import InputError, command_that_makes
from earshot.paths import shipped
from earshot.provenance import provenance
from earshot.stage import STAGE, load_export

CARD = "README.md"
NOTES = (CARD, PROVENANCE, STAGE)  # about the weights in an export
FORM = "[More Information Needed]"  # in the cards that peft and the hub's mixin write by themselves


class Export(L.Callback):
    """At the end of fit, the weights with the lowest validation loss become exports/<run_name>/.

    `validate`, `test` and `predict` start from that folder unless --ckpt_path says otherwise. The stage writes and
    reads the weights (`datamodules.contracts.ExportingStage`); a model card (README.md) and provenance.json come
    beside them. Stages without weights to hand over are left alone, and a `fast_dev_run` exports nothing.

    Args:
        run_name: names the folder; train.py sets it to the run's.
        root: the folder that holds all exports.
        load: False makes validate, test and predict start from the pretrained weights that the YAML names.
        source: the export of another run for them to start from.
    """

    def __init__(self, run_name: str, root: str = "exports", load: bool = True, source: str | None = None) -> None:
        self.folder = Path(root) / run_name
        self.load = load
        self.source = self.folder if source is None else Path(source)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before fit begins, look whether there will be a place for what it learns.

        Raises:
            InputError: there will not.
        """
        above = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        if (
            stage == "fit"
            and isinstance(pl_module, ExportingStage)
            and not (above.is_dir() and os.access(above, os.W_OK))
        ):
            found = "it read-only" if above.is_dir() else "a file"
            raise InputError(f"expected a folder {above}/ to export to, found {found}; set export.root to another")

    def require_source(self, pl_module: L.LightningModule) -> None:
        """Check that there is an export to start from, before anything is loaded.

        Raises:
            InputError: the stage starts from an export, and there is none.
        """
        if self.load and isinstance(pl_module, ExportingStage) and not any(self.source.glob("*")):
            raise InputError(
                f"expected {self.source}/, found nothing; run: {command_that_makes(self.source)}, "
                "or start from --ckpt_path, or with --export.load false from the pretrained weights"
            )

    def starts_from(self, trainer: L.Trainer, pl_module: L.LightningModule) -> list[Path]:
        """The folder that this command starts from; none in fit, and none with --ckpt_path or --export.load false."""
        loads = self.load and trainer.state.fn != "fit" and trainer.ckpt_path is None
        return [self.source] if loads and isinstance(pl_module, ExportingStage) else []

    def _load(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.starts_from(trainer, pl_module) and isinstance(pl_module, ExportingStage):
            self.require_source(pl_module)
            load_export(pl_module, self.source)
            rank_zero_info(f"Weights of {self.source}/")

    def _require_trained(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the export that is there alone where there is nothing better.

        Raises:
            InputError: no step was made, or a weight is not finite.
        """
        if not trainer.global_step:
            raise InputError(f"expected a trained stage to export to {self.folder}/, found no step; raise max_steps")
        for name, value in pl_module.state_dict().items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all():
                raise InputError(
                    f"expected finite weights to export to {self.folder}/, found others in {name}; lower the learning "
                    "rate, and train again"
                )

    # not in `setup`: the stage's own `setup`, which may build what is loaded, runs after it, and the trainer does not
    # know ckpt_path yet
    on_validation_start = on_test_start = on_predict_start = _load

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the folder on rank 0, after the strategy has handed the module back."""
        if isinstance(pl_module, ExportingStage) and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set at run time
            wrong = None
            if trainer.is_global_zero:
                try:
                    self._write(trainer, pl_module)
                except InputError as error:
                    wrong = str(error)
            if wrong := trainer.strategy.broadcast(wrong):
                raise InputError(wrong)  # on all ranks: the others wait for the first

    def _write(self, trainer: L.Trainer, pl_module: Any) -> None:
        settings = settings_of(Path(trainer.default_root_dir))
        read = {MADE_FROM: found} if (found := made_from(settings)) else {}
        best = load_best(trainer, pl_module)
        origin = {"run_folder": trainer.default_root_dir, **best, **read, **costs_of(trainer), **provenance()}
        self._require_trained(trainer, pl_module)
        with atomic_folder(self.folder) as folder:
            pl_module.export(folder)
            (folder / PROVENANCE).write_text(json.dumps(origin, indent=2) + "\n")
            if isinstance(pl_module, CaptioningStage) and "model" in settings:  # for `earshot.Captioner`
                hears = isinstance(pl_module, AudioEmbedder)
                stage = yaml.safe_dump({"model": settings["model"], "hears": hears}, sort_keys=False)
                stage = stage.replace(f"{shipped('assets')}/", "assets/")  # wherever the project is installed
                (folder / STAGE).write_text(stage, encoding="utf-8")
            card = model_card(self.folder.name, type(pl_module), origin, settings, folder)
            (folder / CARD).write_text(card, encoding="utf-8")
        rank_zero_info(f"Exported to {self.folder}/")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_export(self.folder, "model", origin)


def load_best(trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
    """Load the best checkpoint into the module, where there is one, and return where its weights come from."""
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
    progress: Any = trainer.fit_loop.epoch_progress.current
    epoch = progress.processed  # current_epoch is one less where nothing was left to train
    return {"checkpoint": None, "epoch": epoch, "step": trainer.global_step}


def settings_of(run_folder: Path) -> dict[str, Any]:
    """The stage and the data of a run, as its config.yaml has them; nothing where there is none."""
    path = run_folder / "config.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {key: settings[key] for key in ("model", "data") if key in settings}


def model_card(name: str, stage: type, origin: dict[str, Any], settings: dict[str, Any], folder: Path) -> str:
    """The README.md of an export: the stage, the command, the weights in `folder`, and what they come from.

    It begins with the card that the stage wrote into `folder`, if it is more than a library's form to fill in.
    """
    written = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    begin = "" if FORM in written or not written else f"{written.rstrip()}\n\n"
    summary = " ".join((stage.__doc__ or "").split("\n\n")[0].split())
    files = sorted(folder.glob("*.safetensors"))
    weights = "".join(f"- `{path.name}` ({path.stat().st_size / 1e6:.3g} MB)\n" for path in files)
    known = {key: value for key, value in origin.items() if value is not None and key not in ("command", COSTS)}
    if MADE_FROM in known:
        known[MADE_FROM] = ", ".join(f"{path} ({export['digest']})" for path, export in known[MADE_FROM].items())
    facts = "".join(f"| {key} | {value} |\n" for key, value in known.items())
    return (
        f"{begin}# {name}\n\nWeights of the stage `{stage.__module__}.{stage.__qualname__}` of earshot. {summary}\n\n"
        f"## Weights\n\n{weights}\n## Where they come from\n\n```\n{origin['command']}\n```\n\n"
        f"| | |\n|---|---|\n{facts}\n"
        f"## What they were trained with\n\n```yaml\n{yaml.safe_dump(settings, sort_keys=False)}```\n"
    )
