"""Faults in the middle of a run, by the real command: a reader that is killed, a clip that cannot be decoded, NaN."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.clips import ClipBatch
from datamodules.shards import write_shards
from tests.campaigns.damages import make_split
from tests.datamodules.made_clips import clip_media
from tests.datamodules.toy_run import NotesClips
from train import main

BAD_STEP = 5


class KillsItsReader(NotesClips):
    """In its first step, the process that reads for it is killed."""

    def training_step(self, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        if self.global_step == 1:
            for reader in multiprocessing.active_children():  # not all children: a browser of other tests is one
                reader.kill()
        return super().training_step(batch, batch_idx)


class Diverges(NotesClips):
    """Its loss is no number once, and the weights neither from then on."""

    def training_step(self, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        if self.trainer.fit_loop.total_batch_idx + 1 == BAD_STEP:
            Path("bad-clips").write_text(", ".join(batch.clip_ids))
        factor = torch.nan if self.trainer.fit_loop.total_batch_idx + 1 == BAD_STEP else 1.0
        return super().training_step(batch, batch_idx) * factor


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    make_split(tmp_path / "corpus" / "train")
    return tmp_path


def said_by_fit(stage: str, capsys: pytest.CaptureFixture[str], **more: Any) -> str:
    """The line of error of a fit."""
    command = ["fit", "--run_name", "x", "--model", f"tests.{stage}", "--model.folder", "."]
    command += ["--data", "datamodules.clip_datamodule.ClipDataModule", "--data.root", ".", "--data.train"]
    command += ["corpus/train", "--data.batch_size", "4", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "4"]
    command += ["--trainer.limit_val_batches", "0", "--trainer.callbacks.every_n_train_steps", "2"]
    for name, value in more.items():
        command += [f"--{name.replace('__', '.')}", str(value)]
    with pytest.raises(SystemExit) as ended:
        main(command)
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 2 and len(lines) == 1, err
    return lines[0]


def test_a_killed_reader(capsys: pytest.CaptureFixture[str]) -> None:
    said = said_by_fit("campaigns.test_faults.KillsItsReader", capsys, data__num_workers=1)
    assert "expected processes that read to go on, found: DataLoader worker" in said
    assert "lower data.num_workers" in said


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_cannot_be_decoded(workers: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [(f"clip.{number}", clip_media(number, 2), {}) for number in range(9)]
    clips[4][1]["wav"] = clips[4][1]["wav"][:30]  # as packed, so that its digest is right
    write_shards(folder / "corpus" / "train", clips)
    said = said_by_fit("datamodules.toy_run.NotesClips", capsys, data__num_workers=workers)
    assert "expected readable media of clip 'clip.4' in corpus/train/000000.tar" in said


@pytest.mark.parametrize("save_every", [1, 2, 100])
def test_a_loss_that_is_no_number_names_the_clips_and_keeps_the_state_before(
    save_every: int, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"trainer__callbacks__every_n_train_steps": save_every, "data__num_workers": 0}
    said = said_by_fit("campaigns.test_faults.Diverges", capsys, **more)
    assert f"expected a finite train/loss, found nan in step {BAD_STEP}" in said
    assert f"with the clips {Path('bad-clips').read_text()};" in said
    last = torch.load("runs/x/fit-1/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == {1: BAD_STEP - 1, 2: 4, 100: 3}[save_every]
    assert all(value.isfinite().all() for value in last["state_dict"].values())
