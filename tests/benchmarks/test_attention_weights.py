"""The probe of attentive OT's weights, on a run of two steps."""

from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, arguments

from benchmarks import attention_weights
from train import main

OVERLAY = ("--config", str(REPOSITORY / "configs/criterion/attentive_ot.yaml"))


def test_what_a_clips_tokens_show() -> None:
    """Sprites of 3 x 3 tokens, and pixels other than the ground's where they are said to be."""
    _, picture, shown = attention_weights.clip_of(3)
    assert set(np.unique(shown)) <= {0, 1, 2}
    assert (shown > 0).sum() % 9 == 0 and (shown == 2).any()
    patches = picture.reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, -1, 3).astype(float)
    spread = patches.std(axis=1).mean(axis=1)
    assert spread[shown == 0].max() < np.median(spread[shown > 0])


def test_a_short_run(in_tmp_path: Path, world_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")
    main(["fit", *arguments(world_root, *OVERLAY, *short)])
    attention_weights.main(["runs/dali_attentive_ot", "--clips", "12"])
    shown = capsys.readouterr().out
    assert "against the rest: 0." in shown and "(N = 12)" in shown
    assert Path("runs/dali_attentive_ot/attention_weights.png").stat().st_size > 10_000


def test_another_run_is_one_line(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        attention_weights.main(["runs/none"])
    assert ended.value.code == 2
    assert "expected fit-1/checkpoints/best.ckpt in runs/none" in capsys.readouterr().err
