"""Values that a library refuses end in one line; a bug keeps its traceback, though a library found it."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Adam

from tests.campaigns.bad_commands import CONFIG, Tuned
from train import main


class LogsWrongly(Tuned):
    """A bug that Lightning finds: a metric that is no number."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("train/words", "many")  # type: ignore[arg-type]
        return super().training_step(batch, batch_idx)


class AsksForAMean(Tuned):
    """A bug that torch finds."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return torch.arange(3).mean()


class OwnOptimizer(Tuned):
    """A bug in an optimizer that no YAML names."""

    def configure_optimizers(self) -> Adam:
        return Adam(self.layer.parameters(), lr=-1)


class OwnError(Tuned):
    def __init__(self) -> None:
        raise ValueError("a bug in a constructor")


class OtherSteps(Tuned):
    def training_step(self, batch: Tensor, batch_idx: int, more: int) -> Tensor:  # type: ignore[override]
        return batch.sum()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Path("toy.yaml").write_text(yaml.safe_dump(CONFIG))


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("LogsWrongly", (TypeError, ValueError)),
        ("AsksForAMean", RuntimeError),
        ("OwnOptimizer", ValueError),
        ("OwnError", ValueError),
        ("OtherSteps", (TypeError, MisconfigurationException)),
    ],
)
def test_a_bug_keeps_its_traceback(stage: str, error: type[Exception]) -> None:
    with pytest.raises(error) as found:
        main(["fit", "--config", "toy.yaml", "--model", f"tests.callbacks.test_refused_values.{stage}"])
    assert "please report it" in found.value.__notes__[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--trainer.devices -2", "`devices` selected with `CPUAccelerator` should be an int > 0"),
        ("--trainer.strategy ddpp", "invalid strategy name"),
        ("--trainer.val_check_interval 100", "must be less than or equal to the number of the training batches (8)"),
        ("--trainer.accumulate_grad_batches 0", "expected trainer.accumulate_grad_batches of at least 1, found 0"),
        (
            '--trainer.callbacks+=GradientAccumulationScheduler --trainer.callbacks.scheduling={"0":1,"1":2}',
            "found a GradientAccumulationScheduler",
        ),
        ("--model.optimizer torch.optim.Adam --model.optimizer.lr -1", "Invalid learning rate: -1.0"),
        ("--seed_everything -1", "-1 is not in bounds"),
    ],
)
def test_a_value_that_is_refused_is_one_line(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "toy.yaml", *arguments.split()])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and said in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: expected")
