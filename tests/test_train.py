import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from train import main

ROOT = Path(__file__).parents[1].absolute()
CONFIG = {
    "run_name": "toy",
    "model": {"class_path": "tests.toys.ExportingStage"},
    "data": {"class_path": "tests.toys.ToyData"},
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "callbacks+": [
            {
                "class_path": "callbacks.resuming.LastCheckpoint",
                "init_args": {"every_n_train_steps": 2},
            }
        ],
    },
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory with a config, as a user has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Path("toy.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def run(command: str) -> None:
    name, *rest = command.split()
    main([name, "--config", "toy.yaml", *rest])


def start(command: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """The command in a process of its own, in the `folder`."""
    name, *rest = command.split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    line = [sys.executable, str(ROOT / "train.py"), name, "--config", "toy.yaml", *rest]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)


def metrics(path: str) -> list[dict[str, str]]:
    with open(f"runs/{path}/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


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


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_the_other_commands_start_from_the_export(command: str, capsys: pytest.CaptureFixture) -> None:
    run("fit --trainer.max_epochs 1")
    run(command)
    assert Path(f"runs/toy/{command}-1/config.yaml").is_file()
    assert not list(Path("runs/toy").glob("fit-2"))
    if command == "test":
        trained = torch.load("runs/toy/fit-1/checkpoints/best.ckpt", weights_only=True)["state_dict"]
        assert float(metrics("toy/test-1")[0]["test/weight"]) == pytest.approx(trained["layer.weight"].sum().item())


@pytest.mark.parametrize("place", ["train 13", "validate 16"])
def test_a_killed_fit_goes_on_exactly(place: str, capsys: pytest.CaptureFixture) -> None:
    killed = start("fit --run_name killed", EARSHOT_TEST_KILL_AT=place)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = metrics("killed/fit-1")
    assert 8 < len(before) < 3 * 8 * 2

    run("fit --run_name killed --ckpt_path last")
    run("fit --run_name whole")
    assert [path.name for path in Path("runs/killed").iterdir()] == ["fit-1"]
    assert metrics("killed/fit-1") == metrics("whole/fit-1")
    for file in ("last", "best"):
        both = [f"runs/{name}/fit-1/checkpoints/{file}.ckpt" for name in ("killed", "whole")]
        resumed, whole = (torch.load(path, weights_only=True) for path in both)
        for part in ("epoch", "global_step", "state_dict", "optimizer_states", "ToyData"):
            torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0)


def test_a_fit_of_so_many_steps_goes_on_exactly_from_the_end_of_an_epoch() -> None:
    steps = "--trainer.max_steps 24 --trainer.max_epochs -1 --trainer.callbacks.every_n_train_steps 100"
    steps += " --trainer.limit_val_batches 0"
    assert start(f"fit --run_name killed {steps}", EARSHOT_TEST_KILL_AT="train 17").returncode == -signal.SIGKILL
    run(f"fit --run_name killed {steps} --ckpt_path last")
    run(f"fit --run_name whole {steps}")
    assert metrics("killed/fit-1") == metrics("whole/fit-1")
    run(f"fit --run_name killed {steps} --ckpt_path last")  # nothing is left to train
    notes = [json.loads(Path(f"exports/{name}/provenance.json").read_text()) for name in ("killed", "whole")]
    assert [note["epoch"] for note in notes] == [3, 3]


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


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fit --trainer.max_epoch 3", "unrecognized arguments: --trainer.max_epoch"),
        (
            "fit --model.init_args.width three",
            "Parser key \"width\": Expected a <class 'int'>. Got value: three",
        ),
        ("fit --model.init_args.depth 3", "Option 'depth' is not accepted"),
        ("fit --model.class_path tests.toys.Nothing", "has no attribute 'Nothing'"),
        ("fit --trainer.max_epochs many", "Expected a <class 'int'> (found many)"),
        ("fit --config missing.yaml", "File does not exist"),
        ("fit other.yaml", "every YAML needs a --config before it"),
        ("fit --run_name a/b", "found 'a/b'"),
        ("fit --run_name=", "found ''"),
        ("fit --ckpt_path last", "expected runs/toy/fit-<n>/checkpoints/last.ckpt, found none"),
        ("test --ckpt_path missing.ckpt", "found no file missing.ckpt"),
        ("test --ckpt_path toy.yaml", "found another file: toy.yaml"),
        ("test", "expected exports/toy/, found nothing; run: python train.py fit"),
        ("fit --model.init_args.fail true", "expected a stage, found a failure"),
        ("fit --data.init_args.folder empty", "expected shards in empty, found none"),
    ],
)
def test_bad_input_is_one_line(command: str, said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(command)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.split("error: ")
    assert said in error[-1]
    assert len(error[-1].strip().splitlines()) == 1
    assert "Traceback" not in "".join(error)
    assert not [path for path in Path().rglob("runs/toy/*") if not list(path.iterdir())], "an empty run folder"


def test_a_command_without_a_yaml_says_so(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit"])
    assert stopped.value.code == 2
    assert "expected a stage and its data, found none; name a YAML" in capsys.readouterr().err


def test_a_checkpoint_of_other_weights_is_one_line(capsys: pytest.CaptureFixture) -> None:
    run("fit --trainer.max_epochs 1")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run("test --ckpt_path last --model.init_args.width 5")
    assert stopped.value.code == 2
    error = capsys.readouterr().err.split("error: ")[-1]
    assert "expected the state of ExportingStage with these settings in runs/toy/fit-1/checkpoints/last.ckpt" in error
    assert "size mismatch for layer.weight" in error
    assert len(error.strip().splitlines()) == 1


def test_print_config_and_help(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("fit --print_config")
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["run_name"] == "toy"
    classes = [callback["class_path"] for callback in printed["trainer"]["callbacks"]]
    assert classes[-1] == "callbacks.resuming.LastCheckpoint", "callbacks+: appends"
    assert "callbacks.resuming.SeedSteps" in classes

    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--help"])
    assert stopped.value.code == 0
    assert "--run_name" in capsys.readouterr().out


def test_defaults_are_found_from_anywhere(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["test", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["use_distributed_sampler"] is False


TWO_RANKS = "--trainer.devices 2 --trainer.strategy ddp"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict]:
    """The last state of an unbroken run of these arguments, and its metrics."""

    @cache
    def of(arguments: str) -> tuple[dict, list]:
        folder = tmp_path_factory.mktemp("whole")
        (folder / "toy.yaml").write_text(yaml.safe_dump(CONFIG))
        done = start(f"fit {arguments}", WANDB_MODE="disabled", folder=folder)
        assert done.returncode == 0, done.stderr
        run_folder = folder / "runs/toy/fit-1"
        rows = list(csv.DictReader((run_folder / "metrics.csv").open()))
        return torch.load(run_folder / "checkpoints/last.ckpt", weights_only=True), rows

    return of


@pytest.mark.parametrize("place", ["train 4", "train 7", "validate 8"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_saves_the_state_and_the_run_resumes_exactly(name: str, place: str, whole: Callable) -> None:
    often = "--trainer.callbacks.every_n_train_steps 100 --trainer.max_epochs 2"
    done = start(f"fit {often}", EARSHOT_TEST_KILL_AT=place, EARSHOT_TEST_SIGNAL=name)
    assert done.returncode == 128 + signal.Signals[name], done.stderr
    assert not Path("exports/toy").exists()
    assert done.stderr.count(f"ended by {name}; fit resumes with the same command and --ckpt_path resume") == 1
    assert "Traceback" not in done.stderr
    saved = torch.load("runs/toy/fit-1/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == {"train 4": 5, "train 7": 8, "validate 8": 8 + 1}[place]
    run(f"fit {often} --ckpt_path resume")
    same_as(*whole(often))


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1", "all"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_to_any_of_two_ranks_stops_both_after_the_same_step(name: str, rank: str, whole: Callable) -> None:
    two = f"{TWO_RANKS} --trainer.accumulate_grad_batches 2 --trainer.max_epochs 2"
    done = start(f"fit {two}", EARSHOT_TEST_KILL_AT="train 1", EARSHOT_TEST_SIGNAL=name, EARSHOT_TEST_RANK=rank)
    assert done.returncode == 128 + signal.Signals[name], done.stderr
    assert done.stderr.count(f"ended by {name}") == 1 and "Traceback" not in done.stderr
    assert torch.load("runs/toy/fit-1/checkpoints/last.ckpt", weights_only=True)["global_step"] in (2, 3)
    done = start(f"fit {two} --ckpt_path resume")
    assert done.returncode == 0, done.stderr
    same_as(*whole(two))


def same_as(last: dict, rows: list[dict[str, str]]) -> None:
    """The run in this folder has ended as that one."""
    resumed = torch.load("runs/toy/fit-1/checkpoints/last.ckpt", weights_only=True)
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "ToyData"):
        torch.testing.assert_close(resumed[part], last[part], rtol=0, atol=0)
    assert metrics("toy/fit-1") == rows
    assert Path("exports/toy/model.safetensors").is_file()


def test_ctrl_c_twice_stops_at_once() -> None:
    done = start("fit", EARSHOT_TEST_KILL_AT="train 4", EARSHOT_TEST_SIGNAL="SIGINT SIGINT")
    assert done.returncode == -signal.SIGINT
    saved = torch.load("runs/toy/fit-1/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4, "step 5 was not waited for"


@pytest.mark.slow
def test_sigterm_to_the_first_of_two_ranks_ends_predict() -> None:
    run("fit --trainer.max_epochs 1")
    place = {"EARSHOT_TEST_KILL_AT": "predict", "EARSHOT_TEST_SIGNAL": "SIGTERM", "EARSHOT_TEST_RANK": "0"}
    done = start(f"predict {TWO_RANKS}", **place)
    assert done.returncode == 143, done.stderr
    assert "ended by SIGTERM\n" in done.stderr


def test_a_run_suffix_stays_in_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run("fit")
    with pytest.raises(SystemExit) as ended:
        run("test --run_suffix /../../x")
    assert ended.value.code == 2
    assert "expected a run_name with its run_suffix of letters, digits" in capsys.readouterr().err


def test_one_command_starts_a_run_and_resumes_it() -> None:
    command = "fit --ckpt_path resume"
    killed = start(command, EARSHOT_TEST_KILL_AT="train 13")
    assert killed.returncode == -signal.SIGKILL
    run(command)
    assert [path.name for path in Path("runs/toy").iterdir()] == ["fit-1"]
    steps = [int(row["step"]) for row in metrics("toy/fit-1") if row["train/loss"]]
    assert steps == list(range(24))
