"""Run by test_clip_datamodule.py as a command: fit a stage that notes the clips it is given, then test."""

import argparse
import json
import os
import signal
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.clip_datamodule import ClipDataModule
from datamodules.clips import ClipBatch, ClipFormat
from earshot.errors import one_line_errors


class NotesClips(L.LightningModule):
    """Appends [loop, ids, valid, pictures] of a batch to notes-<rank>.jsonl; may kill itself at a step."""

    def __init__(self, folder: Path, kill_at: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.folder = folder
        self.kill_at = kill_at

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat(sampling_rate=1000, image_size=8 if stage == "fit" else None)

    def note(self, loop: str, batch: ClipBatch) -> torch.Tensor:
        if not self.trainer.sanity_checking:
            with (self.folder / f"notes-{self.global_rank}.jsonl").open("a") as file:
                pictures = None if batch.images is None else batch.images[:, 0, 0, 0].tolist()
                file.write(json.dumps([loop, batch.clip_ids, batch.valid, pictures]) + "\n")
        return self.layer(batch.waveforms[:, :1].float() / 100).mean()

    def training_step(self, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        if self.kill_at is not None and self.trainer.fit_loop.total_batch_idx == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.note("train", batch)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.note("validate", batch)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.note("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--checkpoint", type=str)
    parser.add_argument("--ids", type=str)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    split = f"{options.split.parent.name}/{options.split.name}"
    data = ClipDataModule(
        str(options.split.parents[1]), train=split, val=split, test=split, batch_size=4,
        eval_batch_size=8, num_workers=2, shuffle_window=7, ids=options.ids,
    )  # fmt: skip
    trainer = L.Trainer(
        accelerator="cpu",
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        max_epochs=options.epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[ModelCheckpoint(options.folder, "last", every_n_train_steps=6, enable_version_counter=False)],
    )
    stage = NotesClips(options.folder, options.kill_at)
    with one_line_errors():
        trainer.fit(stage, data, ckpt_path=options.checkpoint, weights_only=True)
        trainer.test(stage, data, verbose=False)


if __name__ == "__main__":
    main()
