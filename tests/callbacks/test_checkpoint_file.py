"""A checkpoint is told from everything else, and a whole state from a part of one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from callbacks.checkpoint_file import read_checkpoint_file
from earshot.errors import InputError
from tests.campaigns.bad_commands import CONFIG
from train import main

LAST = Path("runs/toy/fit-1/checkpoints/last.ckpt")


@pytest.fixture()
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A working folder after a fit, and its last checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Path("toy.yaml").write_text(yaml.safe_dump(CONFIG))
    main(["fit", "--config", "toy.yaml"])
    return read_checkpoint_file(LAST)


@pytest.mark.parametrize("weights", [True, False])
def test_what_fit_wrote_is_read_and_nothing_else(weights: bool, trained: dict[str, Any]) -> None:
    assert read_checkpoint_file(LAST, weights)["global_step"] == 8
    for change in (lambda c: c.pop("loops"), lambda c: c.update(epoch="one"), lambda c: c.update(state_dict=[])):
        changed = dict(trained)
        change(changed)
        torch.save(changed, "other.ckpt")
        with pytest.raises(InputError, match="expected a checkpoint that `fit` wrote"):
            read_checkpoint_file(Path("other.ckpt"), weights)
    LAST.write_bytes(LAST.read_bytes()[:-50])
    with pytest.raises(InputError, match="found another file: .*last.ckpt"):
        read_checkpoint_file(LAST, weights)


def test_weights_that_are_no_numbers_are_refused(trained: dict[str, Any]) -> None:
    trained["state_dict"]["layer.bias"][1] = torch.inf
    torch.save(trained, LAST)
    with pytest.raises(InputError, match="expected finite weights in .*last.ckpt, found others in layer.bias"):
        read_checkpoint_file(LAST)


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (lambda c: c.pop("optimizer_states"), [], "expected the optimizer's state in"),
        (lambda c: c.update(optimizer_states=c["optimizer_states"] * 2), [], "found that of another optimizer"),
        (lambda c: c.pop("ToyData"), [], "expected the state of ToyData in"),
        (lambda c: None, ["--model.optimizer", "torch.optim.SGD"], "expected the state of SGD in"),
    ],
)
def test_fit_goes_on_from_a_whole_state_alone(
    change: Callable[[dict[str, Any]], Any], more: list[str], said: str, trained: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    change(trained)
    torch.save(trained, "other.ckpt")  # without the config.yaml of its run, whose settings are compared first
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "toy.yaml", "--ckpt_path", "other.ckpt", "--trainer.max_epochs", "2", *more])
    assert ended.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]
