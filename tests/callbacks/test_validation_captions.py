"""Captions of validation clips: after every validation of fit, and nowhere else."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from torch.utils.data import DataLoader

from callbacks.validation_captions import ValidationCaptions
from datamodules.clips import ClipBatch


class Quiet(L.LightningModule):
    """Does not caption while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.asked: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Stage(Quiet):
    """Says how often it has been asked, and steers the terminal."""

    def validation_captions(self, batch: Any, number: int) -> list[tuple[str, str]]:
        assert not torch.is_grad_enabled()
        self.asked.append(self.global_step)
        return [(f"caption {len(self.asked)}\x1b[2J", "wanted [/] <b>")] * number


def loader(number: int) -> DataLoader:
    batch = ClipBatch(["a", "b"], None, None, None, [["x"], ["y"]], [[], []])
    return DataLoader([batch] * number, batch_size=None, collate_fn=None)  # type: ignore[arg-type]


def fit(callback: ValidationCaptions, stage: L.LightningModule) -> None:
    L.Trainer(
        accelerator="cpu", max_epochs=2, callbacks=[callback], logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False,
    ).fit(stage, loader(3), loader(2))  # fmt: skip


def test_every_validation_after_training_steps_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    fit(ValidationCaptions(number=1), stage)
    assert stage.asked == [3, 6]  # not in the check before training, nor for the second batch
    lines = [line for line in capsys.readouterr().out.splitlines() if "aption" in line]
    assert lines == [
        "validation captions after step 3:",
        "  'caption 1�[2J', wanted 'wanted [/] <b>'",
        "validation captions after step 6:",
        "  'caption 2�[2J', wanted 'wanted [/] <b>'",
    ]


@pytest.mark.parametrize(("number", "stage"), [(0, Stage), (2, Quiet)])
def test_none_are_shown_on_request_or_by_stages_that_do_not_caption(
    number: int, stage: type[L.LightningModule], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(ValidationCaptions(number), stage())
    assert "validation captions" not in capsys.readouterr().out


def hook(callback: ValidationCaptions, stage: Stage, batch: Any, **changes: Any) -> Mock:
    """One validation batch, told to W&B."""
    logger = Mock(spec=WandbLogger)
    trainer = SimpleNamespace(
        is_global_zero=True, state=SimpleNamespace(fn="fit"), sanity_checking=False, global_step=7, loggers=[logger]
    )
    vars(trainer).update(changes)
    callback.on_validation_batch_end(trainer, stage, None, batch, 0)  # type: ignore[arg-type]
    return logger


def test_the_table_grows_with_every_validation() -> None:
    callback, stage = ValidationCaptions(number=2), Mock(spec=Stage)
    stage.validation_captions.return_value = [("a", "b"), ("c", "d")]
    batch = ClipBatch(["a"], None, None, None, [["x"]], [[]])
    hook(callback, stage, batch)
    logger = hook(callback, stage, batch, global_step=9)
    rows = [[7, "a", "b"], [7, "c", "d"], [9, "a", "b"], [9, "c", "d"]]
    logger.log_table.assert_called_once_with("val/captions", ["step", "caption", "wanted"], rows, step=9)


@pytest.mark.parametrize(
    "changes", [{"is_global_zero": False}, {"state": SimpleNamespace(fn="validate")}, {"sanity_checking": True}]
)
def test_other_ranks_and_other_commands_caption_nothing(changes: dict[str, Any]) -> None:
    stage = Mock(spec=Stage)
    hook(ValidationCaptions(), stage, ClipBatch(["a"], None, None, None, [["x"]], [[]]), **changes)
    stage.validation_captions.assert_not_called()


def test_a_filler_batch_is_not_captioned() -> None:
    stage = Mock(spec=Stage)
    hook(ValidationCaptions(), stage, ClipBatch([], None, None, None, [], []))
    stage.validation_captions.assert_not_called()
