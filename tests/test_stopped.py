"""A fit that a kill or a signal ends goes on as an unbroken one."""

import csv
import json
import signal
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
import yaml
from toy_command import CONFIG, metrics, run, start

pytestmark = pytest.mark.usefixtures("toy_folder")


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


ENDS = "--trainer.callbacks+ tests.toys.EndsAt --trainer.callbacks.batch"


@pytest.mark.parametrize(
    ("end", "same", "step"),
    [
        ("--trainer.max_steps 13", "", 13), ("--trainer.max_steps 12", "--trainer.val_check_interval 4", 12),
        ("--trainer.max_steps 5", "--trainer.accumulate_grad_batches 2", 5),
        (f"{ENDS} 13", "", 13), (f"{ENDS} 13", "--trainer.check_val_every_n_epoch 3", 13),
        (f"{ENDS} 13", "--trainer.accumulate_grad_batches 2", 7),  # a batch later, as a step is of two
    ],
)  # fmt: skip
def test_a_fit_that_ended_in_an_epoch_goes_on_exactly(end: str, same: str, step: int) -> None:
    seldom = f"--trainer.callbacks.every_n_train_steps 100 {same}"
    run(f"fit --run_name ended {seldom} {end}")
    assert torch.load("runs/ended/fit-1/checkpoints/last.ckpt", weights_only=True)["global_step"] == step
    run(f"fit --run_name ended {seldom} --ckpt_path last")
    run(f"fit --run_name whole {seldom}")
    resumed, whole = (torch.load(f"runs/{name}/fit-1/checkpoints/last.ckpt") for name in ("ended", "whole"))
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "ToyData"):
        torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0)
    steps = [
        [(row["epoch"], row["step"], row["train/loss"]) for row in metrics(f"{name}/fit-1") if row["train/loss"]]
        for name in ("ended", "whole")
    ]
    assert steps[0] == steps[1]


def test_the_best_weights_of_the_validation_at_a_broken_off_end_keep_their_score() -> None:
    stage = "--model tests.toys.BestAtStep13"
    run(f"fit {stage} {ENDS} 13")
    run(f"fit {stage} --ckpt_path last")
    note = json.loads(Path("exports/toy/provenance.json").read_text())
    assert (note["val/loss"], note["step"]) == (0, 13)
    assert torch.load("runs/toy/fit-1/checkpoints/best.ckpt", weights_only=True)["global_step"] == 13


def test_one_command_starts_a_run_and_resumes_it() -> None:
    command = "fit --ckpt_path resume"
    killed = start(command, EARSHOT_TEST_KILL_AT="train 13")
    assert killed.returncode == -signal.SIGKILL
    run(command)
    assert [path.name for path in Path("runs/toy").iterdir()] == ["fit-1"]
    steps = [int(row["step"]) for row in metrics("toy/fit-1") if row["train/loss"]]
    assert steps == list(range(24))


TWO_RANKS = "--trainer.devices 2 --trainer.strategy ddp"
slow = partial(pytest.param, marks=pytest.mark.slow)


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


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("SIGINT", "train 4"), slow("SIGINT", "train 7"), slow("SIGINT", "validate 8"),
        slow("SIGTERM", "train 4"), slow("SIGTERM", "train 7"), ("SIGTERM", "validate 8"),
        slow("SIGUSR1", "train 4"), ("SIGUSR1", "train 7"), slow("SIGUSR1", "validate 8"),
    ],
)  # fmt: skip
def test_a_signal_saves_the_state_and_the_run_resumes_exactly(name: str, place: str, whole: Callable) -> None:
    often = "--trainer.callbacks.every_n_train_steps 100 --trainer.max_epochs 2"
    done = start(f"fit {often}", EARSHOT_TEST_KILL_AT=place, EARSHOT_TEST_SIGNAL=name)
    assert done.returncode == 128 + signal.Signals[name], done.stderr
    assert not Path("exports/toy").exists()
    assert done.stderr.count(f"ended by {name}; fit resumes with the same command and --ckpt_path resume") == 1
    assert "Traceback" not in done.stderr
    saved = torch.load("runs/toy/fit-1/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == {"train 4": 5, "train 7": 8, "validate 8": 8}[place]
    run(f"fit {often} --ckpt_path resume")
    same_as(*whole(often))


def test_a_signal_need_not_wait_for_a_validation_that_is_due_in_an_hour() -> None:
    hourly = (
        "--trainer.callbacks.every_n_train_steps 100 --trainer.max_epochs 2 --trainer.val_check_interval 00:01:00:00"
    )
    done = start(f"fit {hourly}", EARSHOT_TEST_KILL_AT="train 4", EARSHOT_TEST_SIGNAL="SIGTERM")
    assert done.returncode == 143, done.stderr
    assert torch.load("runs/toy/fit-1/checkpoints/last.ckpt", weights_only=True)["global_step"] == 5


@pytest.mark.parametrize(
    ("place", "more"),
    [
        ("validate 8", ""),  # at the end of an epoch
        slow("validate 16", ""),  # of the last one
        slow("validate 3", "--trainer.val_check_interval 3"),
        slow("validate 2", "--trainer.val_check_interval 4 --trainer.accumulate_grad_batches 2"),
        slow("validate 8", "--trainer.max_epochs -1 --trainer.max_steps 16"),
        slow("validate 8", TWO_RANKS),
        slow("validate 3", f"{TWO_RANKS} --trainer.val_check_interval 3"),
    ],
)
def test_a_signal_in_a_validation_does_not_wait_for_its_end(place: str, more: str, whole: Callable) -> None:
    """The run that is resumed begins with that validation; a kill in it changes nothing, nor does another signal."""
    command = f"--trainer.callbacks.every_n_train_steps 100 --trainer.max_epochs 2 {more}"
    rank = {"EARSHOT_TEST_RANK": "1"} if TWO_RANKS in more else {}
    done = start(f"fit {command}", EARSHOT_TEST_KILL_AT=place, EARSHOT_TEST_SIGNAL="SIGTERM", **rank)
    assert done.returncode == 143 and "Traceback" not in done.stderr, done.stderr
    last = Path("runs/toy/fit-1/checkpoints/last.ckpt")
    saved = torch.load(last, weights_only=True)
    assert saved["global_step"] == int(place.split()[1]) and saved["in_validation"]
    resume = f"fit {command} --ckpt_path resume"
    again = start(resume, EARSHOT_TEST_KILL_AT=place, EARSHOT_TEST_SIGNAL="SIGUSR1", **rank)
    assert again.returncode == 138, again.stderr
    assert torch.load(last, weights_only=True)["in_validation"]
    assert start(resume, EARSHOT_TEST_KILL_AT=place).returncode != 0
    done = start(resume)
    assert done.returncode == 0, done.stderr
    same_as(*whole(command))


@pytest.mark.slow
def test_a_signal_in_the_validation_after_the_last_step_is_no_reason_to_stop(whole: Callable) -> None:
    command = "--trainer.max_epochs -1 --trainer.max_steps 8"
    done = start(f"fit {command}", EARSHOT_TEST_KILL_AT="validate 8", EARSHOT_TEST_SIGNAL="SIGTERM")
    assert done.returncode == 0, done.stderr
    same_as(*whole(command))


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
