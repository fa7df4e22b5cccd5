"""Wrong arguments, settings of the trainer, YAMLs and paths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.optim import Adam

from tests.campaigns.bad_input import Case
from tests.toys import ExportingStage

CONFIG: dict[str, Any] = {
    "run_name": "toy",
    "model": {"class_path": "tests.campaigns.bad_commands.Tuned"},
    "data": {"class_path": "tests.toys.ToyData"},
    "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "enable_progress_bar": False},
}


class Tuned(ExportingStage):
    """With an optimizer to choose."""

    def __init__(
        self, optimizer: OptimizerCallable = lambda p: Adam(p, lr=0.05), scheduler: LRSchedulerCallable | None = None
    ) -> None:
        super().__init__()
        self.optimizer, self.scheduler = optimizer, scheduler

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.layer.parameters())
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])


def toy(folder: Path) -> None:
    """A YAML of a run that takes milliseconds."""
    (folder / "toy.yaml").write_text(yaml.safe_dump(CONFIG))


def fit(*more: str) -> list[str]:
    return ["train", "fit", "--config", "toy.yaml", *more]


def written(text: str | bytes, name: str = "bad.yaml") -> Callable[[Path], None]:
    """The toy's YAML, and another file."""

    def prepare(folder: Path) -> None:
        toy(folder)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return prepare


TRAINER = {  # values that Lightning, torch or the parser refuse
    "devices": ["-2", "0", "many", "1.5", "[0,99]"],
    "num_nodes": ["0", "-1", "two"],
    "accelerator": ["gpu", "tpu", "abacus", "7"],
    "strategy": ["ddpp", "fsdp", "deepspeed", "7"],
    "precision": ["8", "bf17", "float"],
    "max_epochs": ["-5", "many", "1e400"],
    "max_steps": ["-5", "0", "1.5"],
    "max_time": ["soon", "12", "-1"],
    "min_epochs": ["-1"],
    "limit_train_batches": ["-1", "2.5", "all"],
    "limit_val_batches": ["-1", "2.5"],
    "limit_test_batches": ["-1"],
    "overfit_batches": ["-1"],
    "val_check_interval": ["-1", "0", "100", "1.5", "often"],
    "check_val_every_n_epoch": ["-1", "0", "x"],
    "accumulate_grad_batches": ["0", "-3", "1.5"],
    "gradient_clip_val": ["-1", "much"],
    "gradient_clip_algorithm": ["hard"],
    "log_every_n_steps": ["-1", "x"],
    "num_sanity_val_steps": ["-2", "x"],
    "profiler": ["exact"],
    "fast_dev_run": ["-1"],
    "detect_anomaly": ["perhaps"],
    "inference_mode": ["perhaps"],
    "logger": ["wandbb", "csv"],
    "callbacks": ["tests.nothing.Here", "[1]", "torch.nn.Linear"],
    "plugins": ["nothing", "torch.nn.Linear"],
    "reload_dataloaders_every_n_epochs": ["-1"],
    "no_such": ["1"],
}
OPTIMIZER = {
    "lr": ["-1", "x", "null"],
    "betas": ["[2,3]", "[0.9]", "0.9", "[0.9,0.9,0.9]"],
    "eps": ["-1"],
    "weight_decay": ["-1"],
}
NAMES = ["", ".", "..", "a/b", "../x", "/tmp/x", "a b", "a\nb", "\x1b[31mred", "é/", "x" * 300, "~", "$HOME", "a\\b"]
YAMLS = {
    "empty list": "[1, 2]",
    "a word": "word",
    "a tab": "a:\n\t- b",
    "no end of a bracket": "model: {class_path: [",
    "Latin-1": "run_name: caf\u00e9\nseed_everything: 1".encode("latin-1"),
    "UTF-16": yaml.safe_dump(CONFIG).encode("utf-16"),
    "UTF-16 without its mark": yaml.safe_dump(CONFIG).encode("utf-16-le"),
    "binary": bytes(range(256)) * 8,
    "zeros": bytes(4096),
    "a Python object": "model: !!python/object/apply:os.system ['touch ran']",
    "a class of no name": "model: {class_path: ''}",
    "a class that is a function": "model: {class_path: os.getcwd}",
    "a class that is no stage": "model: {class_path: torch.nn.Linear}",
    "a class that does not exist": "model: {class_path: tests.toys.Nothing}",
    "a module that does not exist": "model: {class_path: nothing.Here}",
    "a stage twice as deep": "model: {model: {class_path: tests.toys.ToyStage}}",
    "an unknown key": "modle: {class_path: tests.toys.ToyStage}",
    "data of a stage": "data: {class_path: tests.toys.ToyStage}",
    "a trainer of text": "trainer: fast",
    "callbacks that are a number": "trainer: {callbacks: 3}",
    "an alias of nothing": "run_name: *nothing",
    "a number too long": "seed_everything: " + "9" * 5000,
    "deep": "model: " + "[" * 3000,
    "a name that is a list": "run_name: [a, b]",
    "a name that is null": "run_name: null",
    "two documents": "run_name: a\n---\nrun_name: b",
    "the same key in Cyrillic": "run_n\u0430me: a",
    "merged from nothing": "<<: 3",
}


def cases() -> list[Case]:
    """All of them."""
    found = []
    for name, values in TRAINER.items():
        for value in values:
            found.append(Case("trainer", f"{name} {value}", fit(f"--trainer.{name}", value), toy))
    adam = ["--model.optimizer", "torch.optim.Adam"]
    for name, values in OPTIMIZER.items():
        for value in values:
            command = fit(*adam, f"--model.optimizer.{name}", value)
            found.append(Case("optimizer", f"{name} {value}", command, toy))
    step = ["--model.scheduler", "torch.optim.lr_scheduler.StepLR"]
    found += [
        Case("optimizer", "a class that is none", fit("--model.optimizer", "torch.nn.Linear"), toy),
        Case("optimizer", "an unknown one", fit("--model.optimizer", "torch.optim.Adan"), toy),
        Case("optimizer", "SGD with nesterov alone",
             fit("--model.optimizer", "torch.optim.SGD", "--model.optimizer.nesterov", "true"), toy),
        Case("schedule", "step_size 0", fit(*step, "--model.scheduler.step_size", "0"), toy),
        Case("schedule", "no step_size", fit(*step), toy),
        Case("schedule", "milestones a word", fit("--model.scheduler", "torch.optim.lr_scheduler.MultiStepLR",
             "--model.scheduler.milestones", "late"), toy),
    ]  # fmt: skip
    for seed in ("-1", "x", "1.5", str(2**70), "1e3"):
        found.append(Case("seed", f"seed_everything {seed}", fit("--seed_everything", seed), toy))
    for name in NAMES:
        found.append(Case("name", f"run_name {name[:20]!r}", fit(f"--run_name={name}"), toy))
        if name:
            suffix = ["train", "test", "--config", "toy.yaml", f"--run_suffix=/{name}"]
            found.append(Case("name", f"run_suffix {'/' + name[:20]!r}", suffix, toy))
    for name, text in YAMLS.items():
        found.append(Case("YAML", name, fit("--config", "bad.yaml"), written(text)))
    for what, command in {
        "no command": ["train", "--config", "toy.yaml"], "another command": ["train", "tune", "--config", "toy.yaml"],
        "no YAML": ["train", "fit"], "a YAML without --config": ["train", "fit", "toy.yaml"],
        "a missing YAML": fit("--config", "missing.yaml"), "a folder for a YAML": fit("--config", "."),
        "a path through a file": fit("--config", "toy.yaml/x.yaml"), "a YAML with a NUL": fit("--config", "a\0b"),
        "a name of 300 letters": fit("--config", "x" * 300), "no value": fit("--run_name"),
        "an option twice as long": fit("--trainer.max_epochs.more", "1"), "a short option": fit("-x"),
        "an abbreviation": fit("--run_nam", "x"), "config without a value": ["train", "fit", "--config"],
        "another verb": ["trian", "fit"], "validate without an export": ["train", "validate", "--config", "toy.yaml"],
        "test without an export": ["train", "test", "--config", "toy.yaml"],
        "predict without an export": ["train", "predict", "--config", "toy.yaml"],
        "an export that is a file": ["train", "test", "--config", "toy.yaml", "--export.source", "toy.yaml"],
        "an export of nothing": ["train", "test", "--config", "toy.yaml", "--export.source", ""],
        "exports through a file": fit("--export.root", "toy.yaml"),
        "an overlay that is not there": fit("--config", "criterion/nothing"),
        "the miniature's class misspelt": fit("--data", "miniature.Minature"),
        "steps of other numbers of batches": fit(
            "--trainer.callbacks+=GradientAccumulationScheduler", '--trainer.callbacks.scheduling={"1":2}'
        ),
    }.items():  # fmt: skip
        found.append(Case("command", what, command, toy))

    def runs_is_a_file(folder: Path) -> None:
        toy(folder)
        (folder / "runs").write_text("x")

    def name_is_a_file(folder: Path) -> None:
        toy(folder)
        (folder / "runs").mkdir()
        (folder / "runs" / "toy").write_text("x")

    def export_is_a_file(folder: Path) -> None:
        toy(folder)
        (folder / "exports").write_text("x")

    found += [
        Case("path", "runs is a file", fit(), runs_is_a_file),
        Case("path", "runs/toy is a file", fit(), name_is_a_file),
        Case("path", "exports is a file", fit(), export_is_a_file),
    ]
    return found
