"""The front door. `python train.py {fit,validate,test,predict} --config configs/<stage>.yaml [--config overlay.yaml]`."""

import sys
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from callbacks.export import Export
from callbacks.run_folder import hand_over, open_run
from errors import InputError, one_line_errors

DEFAULTS = Path(__file__).parent.absolute() / "configs" / "defaults.yaml"
HELP = "Train, test or apply one stage of a zero-shot audio captioner. Start with: fit --config configs/dali_ot.yaml"


class Parser(LightningArgumentParser):
    """Says what is wrong with a command or a YAML in one line; jsonargparse takes a screen."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Of each list of failed attempts keep the first, which is about the type that was meant."""
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
        raise InputError(f"{' '.join(kept)}; see: {self.prog.replace(' [options]', '')} --help") from ex


class TrainCLI(LightningCLI):
    """LightningCLI with a run name, run folders and exports."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `run_name` and the export that bears it."""
        parser.add_argument("--run_name", type=str, default="", help="names runs/<run_name>/ and exports/<run_name>/")
        parser.add_lightning_class_args(Export, "export")
        parser.link_arguments("run_name", "export.run_name")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; without Lightning's warning about `args`, which tests give."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Keep the YAML: Lightning would put a checkpoint's hyperparameters in its place."""

    def before_instantiate_classes(self) -> None:
        """Tell the trainer and the loggers where the run lives, and what to start from."""
        config = self.config[self.subcommand]
        folder, checkpoint = open_run(config.run_name, self.subcommand, config.ckpt_path)
        trainer = config.trainer
        config.ckpt_path = checkpoint and str(checkpoint)
        trainer.default_root_dir = str(folder)
        if trainer.enable_progress_bar is None:
            trainer.enable_progress_bar = sys.stdout.isatty()  # elsewhere, callbacks.progress_lines
        for logger in trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]:
            if hasattr(logger, "class_path"):
                logger.init_args.save_dir = str(folder)


def main(args: list[str] | None = None) -> None:
    """Run the command line `args`, by default the process's; bad input ends with one line and exit code 2."""
    parser: dict[str, Any] = {name: {"default_config_files": [str(DEFAULTS)]} for name in TrainCLI.subcommands()}
    with one_line_errors(), hand_over():
        TrainCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},  # a resumed run has its folder already
            parser_class=Parser,
            parser_kwargs={"description": HELP, **parser},
            args=args,
        )


if __name__ == "__main__":
    main()
