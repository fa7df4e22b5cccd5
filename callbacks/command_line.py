"""The command line of training: LightningCLI with run folders, exports, and short help and errors."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.model_helpers import is_overridden

from callbacks.caption_evaluation import CaptionEvaluation
from callbacks.class_help import add_class_help
from callbacks.export import Export
from callbacks.lineage import MADE_FROM, made_from
from callbacks.refused_values import refused_values
from callbacks.run_folder import open_run
from callbacks.run_summary import RunSummary
from callbacks.same_settings import require_same_settings
from callbacks.slurm import match_tasks
from callbacks.steps_left import require_steps_left
from callbacks.wandb_logger import WandbLogger
from datamodules.contracts import CaptioningStage
from earshot.atomic import write_text
from earshot.errors import InputError
from earshot.paths import located, resource

LEAST = {  # settings of the trainer below which Lightning divides by zero, or does something without a meaning
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "max_epochs": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
}
STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step", "predict": "predict_step"}


class Parser(LightningArgumentParser):
    """Says in one line what is wrong with a command or a YAML, where jsonargparse fills a screen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)  # refuse names that are nearly right
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise InputError, or inside a nested parser the error that the outer parser expects."""
        if not self.exit_on_error:
            super().error(message, ex)
        told = one_line(message)
        if told.startswith("the following arguments are required"):  # those that only a YAML gives
            told = "expected a stage and its data, found none; name a YAML, as in --config configs/dali_ot.yaml"
        elif told.startswith("unrecognized arguments") and told.endswith((".yaml", ".yml")):
            told += ", as every YAML needs a --config before it"
        elif lacks := re.search(r"does not implement protocol (\w+)", told):
            told += f", whose arguments have names and type hints; give the class's methods the same as {lacks[1]}'s"
        elif missing := re.search("File does not exist: '(.*)'", told):
            told += yamls_beside(os.path.relpath(missing[1]))
        raise InputError(f"{told}; see: {self.prog.replace(' [options]', '')} --help") from ex


def yamls_beside(name: str) -> str:
    """What there is in the folder of a --config that is not there."""
    parent = os.path.dirname(name)
    for folder in (resource(parent), resource(f"configs/{parent}")) if parent else ():
        if os.path.isdir(folder) and (found := sorted(path.stem for path in folder.glob("*.yaml"))):
            return f"; in {folder} are {', '.join(found)}"
    return ""


def one_line(message: str) -> str:
    """The first attempt in each of jsonargparse's nested lists of attempts: it is about the type that was meant."""
    kept: list[str] = []
    bullets: list[int] = []
    for line in message.splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if "Expected a path but" in text:  # before all others it looks for a file of that name
            continue
        if text.startswith("- "):
            if indent in bullets:
                break
            bullets.append(indent)
        text = text.removeprefix("- ")
        if not text.startswith(("Does not validate", "Subtypes:", "Errors:", "Given value")):
            kept.append(text)
    given = re.search(r"Given value: ([\w.]*\w)(?=\. |\.?$)", message, re.MULTILINE)  # that of the innermost list
    if given and not kept[-1].endswith(given[1]):
        kept.append(f"(found {given[1]})")
    return " ".join(" ".join(kept).split())


class SaveConfig(SaveConfigCallback):
    """Saves the configuration as config.yaml in the run folder, and in W&B, there with the exports that are read."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called on rank 0; a resumed run writes the file anew, and may be killed while it does."""
        dumped = self.parser.dump(self.config, skip_unset=False)
        write_text(Path(trainer.default_root_dir, self.config_filename), dumped)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger) and logger.records]
        if loggers:
            config = yaml.safe_load(self.parser.dump(self.config))
            callbacks = (each for each in vars(trainer)["callbacks"] if isinstance(each, Export))
            started_from = [path for export in callbacks for path in export.starts_from(trainer, pl_module)]
            read = made_from([config["model"], config["data"]], *started_from)
            for logger in loggers:
                logger.log_hyperparams({**config, MADE_FROM: read})
                logger.use_exports(read)


class TrainCLI(LightningCLI):
    """LightningCLI with run names, run folders and exports.

    Args:
        options: the command's own arguments, described; with it, the help is printed and nothing is run.
        kwargs: as for LightningCLI.
    """

    def __init__(self, *args: Any, options: argparse.ArgumentParser | None = None, **kwargs: Any) -> None:
        self.options = options
        with refused_values(__name__):
            super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `run_name`, the export of that name, and the evaluation of captions."""
        parser.add_argument("--run_name", type=str, default="", help="names the folders in runs/ and exports/")
        parser.add_argument(
            "--run_suffix",
            type=str,
            default="",
            help="added to the names of the folders of test and predict in runs/, not to that of the export",
        )
        parser.add_lightning_class_args(Export, "export")
        parser.link_arguments("run_name", "export.run_name")
        parser.add_lightning_class_args(CaptionEvaluation, "evaluation")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, without Lightning's warning about given `args`; print the help where it was asked for."""
        assert args is None or isinstance(args, list)
        self.arguments = args or []
        try:
            self.config = parser.parse_args(args)
        except UnicodeDecodeError as error:
            given = {
                path for before, path in zip(["", *self.arguments], self.arguments) if before in ("--config", "-c")
            }
            raise InputError(
                f"expected UTF-8 in {' and '.join(sorted(given))}, found other bytes ({error}); save the YAML as UTF-8"
            ) from error
        except BrokenPipeError:  # nobody reads what --print_config prints
            raise
        except (ValueError, OSError, RecursionError) as error:
            said = " ".join(str(error).split())[:200]
            raise InputError(f"expected a configuration, found: {said}; correct the YAML or the arguments") from error
        if self.options is not None:
            for key in ("model", "data"):
                add_class_help(self.options, key, self.config[self.config.subcommand].get(key))
            self.options.print_help()
            raise SystemExit(0)

    def _parse_ckpt_path(self) -> None:
        """Keep the YAML: Lightning would put a checkpoint's hyperparameters in its place."""

    def before_instantiate_classes(self) -> None:
        """Tell the trainer and the loggers where the run lives, and what to start from."""
        assert self.subcommand is not None
        config = self.config[self.subcommand] = located(self.config[self.subcommand])
        for name, least in LEAST.items():
            if (value := config.trainer[name]) is not None and value < least:
                raise InputError(f"expected trainer.{name} of at least {least}, found {value}; correct it")
        if (interval := config.trainer.val_check_interval) in (0, 0.0):
            raise InputError(f"expected trainer.val_check_interval above 0, found {interval}; correct it")
        names = [each.class_path.rpartition(".")[2] for each in config.trainer.callbacks or []]
        if self.subcommand == "fit" and "GradientAccumulationScheduler" in names:
            raise InputError(
                "expected as many batches in every step, found a GradientAccumulationScheduler, with which no run is "
                "resumed; give trainer.accumulate_grad_batches or data.global_batch_size in its place"
            )
        match_tasks(config.trainer)
        folder, checkpoint = open_run(config.run_name, self.subcommand, config.ckpt_path, config.run_suffix)
        if self.subcommand == "fit" and checkpoint is not None:
            require_same_settings(checkpoint, yaml.safe_load(self._parser(self.subcommand).dump(config)))
            require_steps_left(checkpoint, config.trainer)
        trainer = config.trainer
        config.ckpt_path = checkpoint and str(checkpoint)
        if self.subcommand == "predict":
            config.return_predictions = False  # nobody takes them: callbacks write them
        trainer.default_root_dir = str(folder)
        if trainer.enable_progress_bar is None:
            trainer.enable_progress_bar = sys.stdout.isatty()  # elsewhere, callbacks.progress_lines
        if trainer.logger is False:  # Lightning's refuses to be without a logger
            trainer.callbacks = [
                each for each in trainer.callbacks or [] if not each.class_path.endswith(".LearningRateMonitor")
            ]
        for logger in trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]:
            if isinstance(logger, Namespace):
                logger.init_args.save_dir = str(folder)
                if logger.class_path.endswith("wandb_logger.WandbLogger") and logger.init_args.get("job_type") is None:
                    logger.init_args.job_type = f"{self.subcommand}-{config.model.class_path.rpartition('.')[2]}"

    def _run_subcommand(self, subcommand: str) -> None:
        """Refuse commands that the stage has no step for, and those that have nothing to start from."""
        able = [name for name, step in STEPS.items() if is_overridden(step, self.model, LightningModule)]
        if subcommand not in able:
            stage = type(self.model).__name__
            raise InputError(
                f"expected {' or '.join(able)}, which {stage} does, found {subcommand}; correct the command"
            )
        for callback in vars(self.trainer)["callbacks"]:
            if isinstance(callback, RunSummary):
                callback.arguments = self.arguments
        config = self.config_init[subcommand]
        if subcommand != "fit" and config.ckpt_path is None:
            config.export.require_source(self.model)
        with refused_values(__name__, config.ckpt_path, type(self.model).__name__):
            super()._run_subcommand(subcommand)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Without Lightning's table after a test of captions: that of the scores has all of its numbers."""
        given = super()._prepare_subcommand_kwargs(subcommand)
        own = {"verbose": False} if subcommand == "test" and isinstance(self.model, CaptioningStage) else {}
        return given | own

    def instantiate_classes(self) -> None:
        """Raise the error that a constructor raised, without jsonargparse's account of its attempts.

        Raises:
            InputError: that of a constructor, or a path in the YAML cannot be read.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, InputError | OSError):
                cause = cause.__cause__
            if isinstance(cause, OSError):  # a path in the YAML that cannot be read
                raise InputError(str(cause).strip().splitlines()[0]) from error
            if cause is not None:
                raise cause from None
            raise
