"""Schedules by epochs, and the one that waits for a metric."""

from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import StepLR
from wsac_command import SHORT, command

from lightning_modules.schedules.by_epoch import by_epoch


def test_the_schedule_is_of_the_optimizer() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    made = by_epoch(optimizer, lambda one: StepLR(one, step_size=1, gamma=0.5))
    optimizer.step()
    made["lr_scheduler"].step()
    assert made["optimizer"] is optimizer and optimizer.param_groups[0]["lr"] == 0.25


def test_one_that_waits_for_a_metric_is_refused_in_words_that_a_yaml_can_follow(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plateau = ("--model.lr_scheduler", "lightning.pytorch.cli.ReduceLROnPlateau")
    with pytest.raises(SystemExit) as ended:
        command("fit", captions_root, *SHORT, *plateau, "--model.lr_scheduler.monitor", "val/loss")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "found ReduceLROnPlateau" in said and "set model.lr_scheduler to another" in said
