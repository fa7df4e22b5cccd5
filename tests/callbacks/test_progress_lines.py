import lightning as L
import pytest

from callbacks.progress_lines import ProgressLines
from tests.toys import ToyData, ToyStage


def fit(callback: ProgressLines, **options: object) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(ToyStage(), ToyData())


def test_few_lines_without_a_bar(capsys: pytest.CaptureFixture) -> None:
    fit(ProgressLines(seconds=60), enable_progress_bar=False)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fit epoch 2/2 step 8/8, ")
    assert " steps/s" in lines[0]


def test_a_line_for_every_step_if_so_asked(capsys: pytest.CaptureFixture) -> None:
    fit(ProgressLines(seconds=0), enable_progress_bar=False)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len([line for line in lines[:-1] if line.startswith("fit")]) == 2 * 8
    assert len([line for line in lines if line.startswith("validate step")]) == 2 * 8


def test_the_last_line_comes_once(capsys: pytest.CaptureFixture) -> None:
    fit(ProgressLines(seconds=0), enable_progress_bar=False, limit_val_batches=0)
    lines = [line.partition(",")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("fit")]
    assert len(lines) == len(set(lines)) == 2 * 8


def test_no_line_beside_a_bar(capsys: pytest.CaptureFixture) -> None:
    fit(ProgressLines(seconds=0), enable_progress_bar=True)
    assert "steps/s" not in capsys.readouterr().out
