"""Two real processes of which one has a loss that is no number: both stop, and keep the state before."""

import json
from pathlib import Path

import pytest
import torch

from datamodules.clips import ClipBatch
from tests.callbacks.test_dead_ranks import CLIPS, fit
from tests.datamodules.made_clips import pack_counts
from tests.noting_stage import NotingStage

BAD_STEP = 5


class DivergesOnOneRank(NotingStage):
    """The loss of the second process alone is NaN once; the mean of the gradients is then NaN on both."""

    def training_step(self, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        bad = self.global_rank == 1 and self.global_step + 1 == BAD_STEP
        return super().training_step(batch, batch_idx) * (torch.nan if bad else 1.0)


@pytest.mark.parametrize("save_every", ["1", pytest.param("100", marks=pytest.mark.slow)])
def test_a_loss_on_one_of_two_ranks_stops_both(
    save_every: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/corpus/uneven").mkdir(parents=True)
    Path("notes").mkdir()
    pack_counts(Path("data/corpus/uneven"), [13, 5, 21, 8, 17, 3, 11])
    diverges = {"class_path": "tests.callbacks.test_finite_loss.DivergesOnOneRank"}
    code, err = fit(CLIPS | {"model": diverges}, "--trainer.callbacks.every_n_train_steps", save_every, NOTES="run")
    noted = [json.loads(line) for line in Path("notes/run-1.jsonl").read_text().splitlines()]
    (clips,) = (ids for step, _, ids in noted if step == BAD_STEP - 1)
    assert code == 2 and "Traceback" not in err and err.count("error: ") == 1, err
    assert (
        f"expected a finite train/loss, found nan in step {BAD_STEP} (epoch 1) with the clips {', '.join(clips)};"
        in err
    )
    last = Path("runs/toy/fit-1/checkpoints/last.ckpt")
    assert last.exists() == (save_every == "1")
    if last.exists():
        state = torch.load(last, weights_only=True)
        assert state["global_step"] == BAD_STEP - 1
        assert all(value.isfinite().all() for value in state["state_dict"].values())
