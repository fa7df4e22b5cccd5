"""The front door: `python train.py {fit,validate,test,predict} --config configs/<stage>.yaml`."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden

from callbacks.caption_evaluation import CaptionEvaluation
from callbacks.export import Export
from callbacks.run_folder import hand_over, open_run
from callbacks.wandb_logger import WandbLogger
from earshot.errors import InputError, one_line_errors

DEFAULTS = Path(__file__).parent.absolute() / "configs" / "defaults.yaml"
COMMANDS = {
    "fit": "Train a stage in runs/<run_name>/fit-<n>/; its best weights go to exports/<run_name>/.",
    "validate": "Validate exports/<run_name>/, or --ckpt_path, as fit does after an epoch.",
    "test": "Test exports/<run_name>/, or --ckpt_path.",
    "predict": "Apply exports/<run_name>/, or --ckpt_path, to data.",
}

STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step", "predict": "predict_step"}


class Parser(LightningArgumentParser):
    """Says what is wrong with a command or a YAML in one line; jsonargparse takes a screen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)  # a key that is nearly right is wrong
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise InputError, or in a parser within a parser what the outer one expects."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise InputError(f"{one_line(message)}; see: {self.prog.replace(' [options]', '')} --help") from ex


def one_line(message: str) -> str:
    """Of jsonargparse's nested lists of attempts, the first of each: it is about the type that was meant."""
    kept: list[str] = []
    bullets: list[int] = []
    for line in message.splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if text.startswith("- "):
            if indent in bullets:
                break
            bullets.append(indent)
        if not text.startswith(("Does not validate", "Subtypes:", "Errors:", "Given value")):
            kept.append(text.removeprefix("- "))
    given = message.splitlines()[-1].strip().removeprefix("Given value: ")
    if message.splitlines()[-1] != given and given.isalnum():
        kept.append(f"(found {given})")
    return " ".join(" ".join(kept).split())


class SaveConfig(SaveConfigCallback):
    """Beside config.yaml in the run folder, W&B gets the configuration too."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called on rank 0."""
        config = yaml.safe_load(self.parser.dump(self.config))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(config)


class TrainCLI(LightningCLI):
    """LightningCLI with a run name, run folders and exports."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `run_name`, the export that bears it, and the evaluation of captions."""
        parser.add_argument("--run_name", type=str, default="", help="names the folders in runs/ and exports/")
        parser.add_argument(
            "--run_suffix",
            type=str,
            default="",
            help="ends the names of test's and predict's folders, not the export's",
        )
        parser.add_lightning_class_args(Export, "export")
        parser.link_arguments("run_name", "export.run_name")
        parser.add_lightning_class_args(CaptionEvaluation, "evaluation")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; without Lightning's warning about `args`, which tests give."""
        assert args is None or isinstance(args, list)
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Keep the YAML: Lightning would put a checkpoint's hyperparameters in its place."""

    def before_instantiate_classes(self) -> None:
        """Tell the trainer and the loggers where the run lives, and what to start from."""
        assert self.subcommand is not None
        config = self.config[self.subcommand]
        folder, checkpoint = open_run(config.run_name, self.subcommand, config.ckpt_path, config.run_suffix)
        trainer = config.trainer
        config.ckpt_path = checkpoint and str(checkpoint)
        if self.subcommand == "predict":
            config.return_predictions = False  # to nobody: callbacks write them
        trainer.default_root_dir = str(folder)
        if trainer.enable_progress_bar is None:
            trainer.enable_progress_bar = sys.stdout.isatty()  # elsewhere, callbacks.progress_lines
        for logger in trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]:
            if hasattr(logger, "class_path"):
                logger.init_args.save_dir = str(folder)

    def _run_subcommand(self, subcommand: str) -> None:
        """Refuse what the stage does not do, as a captioner that is guided has no fit, or has nothing to start from."""
        able = [name for name, step in STEPS.items() if is_overridden(step, self.model, LightningModule)]
        if subcommand not in able:
            stage = type(self.model).__name__
            raise InputError(
                f"expected {' or '.join(able)}, which {stage} does, found {subcommand}; correct the command"
            )
        if subcommand != "fit" and self.config_init[subcommand].ckpt_path is None:
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, Export):
                    callback.require_source(self.model)
        super()._run_subcommand(subcommand)

    def instantiate_classes(self) -> None:
        """Bring out what a constructor found wrong from under jsonargparse's account of what it tried."""
        try:
            super().instantiate_classes()
        except MisconfigurationException as error:  # a GPU where there is none, say
            raise InputError(" ".join(str(error).split())) from error
        except ValueError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, InputError | OSError):
                cause = cause.__cause__
            if isinstance(cause, OSError):  # a path in the YAML that cannot be read
                raise InputError(str(cause).strip().splitlines()[0]) from error
            raise cause or error from None


def no_advertisement(record: logging.LogRecord) -> bool:
    """Whether to show a line of Lightning's."""
    return "Tip: For seamless cloud" not in record.getMessage()


def main(args: list[str] | None = None) -> None:
    """Run the command line `args`, by default the process's; bad input ends with one line and exit code 2."""
    usage = "train.py %s --config CONFIG [--config OVERLAY ...] [--KEY VALUE ...]"
    commands = {
        command: {
            "default_config_files": [str(DEFAULTS)],
            "description": text,
            "usage": usage % command,
        }
        for command, text in COMMANDS.items()
    }
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(no_advertisement)
    warnings.filterwarnings("ignore", message=".*LeafSpec")  # torch to Lightning, about Lightning's inside
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # resuming
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # peft to transformers
    warnings.filterwarnings("ignore", message=".*could not find the monitored key")  # export says so
    warnings.filterwarnings("ignore", message="The dirpath has changed from")  # testing a checkpoint
    with one_line_errors(), hand_over():
        TrainCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},  # a resumed run has its folder already
            parser_class=Parser,
            parser_kwargs={
                "description": "Train, test and apply zero-shot audio captioners, stage by stage.",
                **commands,
            },
            args=args,
        )


if __name__ == "__main__":
    main()
