"""The command that trains: `python train.py {fit,validate,test,predict} --config configs/<stage>.yaml`."""

import argparse
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earshot.errors import one_line_errors
from earshot.paths import config_file, resource, shipped
from earshot.signals import SIGNALS, Stopped
from earshot.told import one_voice

# before torch is imported: threads that spin while they wait for one another slow a busy CPU sixfold
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {
    "fit": "Train a stage in runs/<run_name>/fit-<n>/ and write its best weights to exports/<run_name>/.",
    "validate": "Validate exports/<run_name>/ or a checkpoint, as fit does after every epoch.",
    "test": "Test exports/<run_name>/ or a checkpoint: caption the test split and score the captions.",
    "predict": "Apply exports/<run_name>/ or a checkpoint to data without references.",
}
DESCRIPTION = (
    "Train, test and apply zero-shot audio captioners. A stage of a method is one YAML; every value in it is also an "
    "argument: --trainer.max_epochs 3 or --data.batch_size 8."
)
IGNORED = (
    r"\s*Unable to serialize instance <function",  # defaults such as a paper's optimizer, which are code
    ".*LeafSpec",  # torch to Lightning, about Lightning's code
    "Checkpoint directory .* exists and is not empty",  # when a run is resumed
    ".*is_gradient_checkpointing",  # peft to transformers
    ".*could not find the monitored key",  # the export reports it
    "The dirpath has changed from",  # when a checkpoint is tested
    "The `srun` command is available",  # callbacks.slurm looks for itself
    "The number of training batches .* is smaller than the logging interval",  # metrics.csv has the epochs
)
# said by Lightning
NOISE = (
    "💡 Tip", "Tip: ", "TPU available", "HPU available", "IPU available", "Seed set to", "`Trainer.fit` stopped: `max_",
    "[rank: ",
)  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process; bad input ends with one line and exit code 2."""
    args = with_config_files(sys.argv[1:] if args is None else args)
    program = "earshot train" if "earshot" in Path(sys.argv[0]).parts[-2:] else "train.py"
    parser, commands = helps(program)
    command = next((arg for arg in args if arg in COMMANDS), None)
    options = None
    if not args or {"-h", "--help"} & set(args):
        options = parser if command is None else commands[command]
        if command is None or not any(arg.startswith(("--config", "-c", "--model", "--data")) for arg in args):
            options.print_help()
            raise SystemExit(0)
    defaults = [str(shipped("configs/defaults.yaml"))]
    settings = {
        name: {"default_config_files": defaults, "description": help.description, "usage": help.usage}
        for name, help in commands.items()
    }
    args = ["--help" if arg == "--help_all" else arg for arg in args if arg not in ("-h", "--help")]
    with ended_by_signal(command), one_voice(), one_line_errors():
        run(args, options, {"prog": program, "description": DESCRIPTION, **settings})


def run(args: list[str], options: argparse.ArgumentParser | None, settings: dict[str, Any]) -> None:
    """Have Lightning's command line do what `args` ask for, or only describe `options` where they are given."""
    from lightning.pytorch import LightningDataModule, LightningModule
    from transformers.utils.logging import disable_progress_bar

    from callbacks.command_line import Parser, SaveConfig, TrainCLI
    from callbacks.dead_ranks import ended_together
    from callbacks.run_folder import hand_over

    for name in (
        "pytorch.utilities.rank_zero",
        "fabric.utilities.seed",
        "fabric.strategies.launchers.subprocess_script",
    ):
        logging.getLogger(f"lightning.{name}").addFilter(lambda record: not record.getMessage().startswith(NOISE))
    if not sys.stderr.isatty():  # a bar in a log file is a line of boxes
        disable_progress_bar()
    for message in IGNORED:
        warnings.filterwarnings("ignore", message=message)
    with hand_over(), ended_together():
        TrainCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=SaveConfig,
            save_config_kwargs={"save_to_log_dir": False},  # it writes config.yaml itself, whole or not at all
            parser_class=Parser,
            parser_kwargs=settings,
            args=args,
            options=options,
        )


@contextmanager
def ended_by_signal(command: str | None) -> Iterator[None]:
    """End for a signal with one line and the signal's exit code; in a SLURM job, have the job queued again."""
    with SIGNALS.handled():
        try:
            yield
        except Stopped as stopped:
            from lightning.pytorch.utilities.rank_zero import rank_zero_only

            from callbacks.slurm import requeue, requeues

            again = command in ("fit", "predict") and requeues(stopped.signum)
            if getattr(rank_zero_only, "rank", 0):  # the first speaks for all; srun would kill it for another's code
                raise SystemExit(0 if again or stopped.saved else stopped.code) from None
            resumes = "; fit resumes with the same command and --ckpt_path resume" if command == "fit" else ""
            told = f"; {requeue()}" if again else resumes
            print(f"ended by {signal.Signals(stopped.signum).name}{told}", file=sys.stderr)
            raise


def with_config_files(args: Sequence[str]) -> list[str]:
    """The arguments with the file that each --config means: `dali_ot` is configs/dali_ot.yaml."""
    found = []
    for before, arg in zip(["", *args], args):
        name, equals, value = arg.partition("=")
        if before in ("-c", "--config"):
            arg = str(config_file(arg))
        elif name == "--config" and equals:
            arg = f"--config={config_file(value)}"
        found.append(arg)
    return found


def helps(program: str) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The help on the whole command, and on each subcommand; both are only shown, Lightning's parser parses."""
    form = "--config CONFIG [--config OVERLAY ...] [--KEY VALUE ...]"
    configs = resource("configs")
    stages = sorted(path.stem for path in configs.glob("*.yaml") if path.name != "defaults.yaml")
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} COMMAND {form}",
        description=DESCRIPTION,
        epilog=f"{program} COMMAND --config CONFIG --help describes the arguments of the classes that CONFIG names. "
        f"The CONFIGs that come with the project are: {', '.join(stages)}. OVERLAYs, such as criterion/mmd, are in "
        f"the folders of {configs}/.",
        add_help=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            usage=f"{program} {name} {form}",
            description=text,
            epilog=f"Arguments of the Trainer are --trainer.max_epochs, --trainer.devices and others: {program} {name} "
            "--help_all lists them all. With a --config, --help describes the arguments of the classes that it names.",
            add_help=False,
        )
        add = command.add_argument
        add("--help", action="store_true", help="show this help; with a --config, also the arguments of its classes")
        add("--help_all", action="store_true", help="show every argument, including those of the Trainer")
        add("--print_config", action="store_true", help="print the whole configuration that results, and run nothing")
        add("--config", metavar="CONFIG", help="a YAML, or its name in configs/; later ones override")
        add("--run_name", metavar="NAME", help="names the folders in runs/ and exports/")
        add(
            "--ckpt_path",
            metavar="PATH",
            help="checkpoint to start from: a file, last, or best; resume: last where there is one",
        )
        add("--seed_everything", metavar="SEED", help="seed of all random numbers (default: 42)")
    return parser, commands.choices


if __name__ == "__main__":
    main()
