"""A stage that learns, exports and captions real clips in milliseconds, for tests of what is around a stage."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from datamodules.clips import CaptionRows, ClipBatch, ClipFormat


class CaptioningToy(L.LightningModule):
    """Learns the mean loudness of clips, and captions each by its first label.

    Args:
        encoder: an export that is named and not read.
        fail_at: the step whose loss is no number.
    """

    def __init__(self, encoder: str | None = None, fail_at: int | None = None) -> None:
        super().__init__()
        self.fail_at = fail_at
        self.level = nn.Parameter(torch.zeros(()))

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat(sampling_rate=16000)

    def loss(self, batch: ClipBatch) -> Tensor:
        assert batch.waveforms is not None
        return (batch.waveforms.float().abs().mean() / 2**15 - self.level).square()

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        loss = self.loss(batch) * (torch.nan if self.global_step == self.fail_at else 1)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch), sync_dist=True, batch_size=1)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        return batch.rows([f"a {labels[0] if labels else 'thing'} sounds" for labels in batch.labels])

    predict_step = test_step

    def captions_made_by(self) -> dict[str, Any]:
        return {"weights": float(self.level.detach())}

    def export(self, folder: Path) -> None:
        save_file(self.state_dict(), folder / "model.safetensors")

    def load_export(self, folder: Path) -> None:
        self.load_state_dict(load_file(folder / "model.safetensors"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class EndService(L.Callback):
    """Kill W&B's service, a child of this process, after the first step, as a machine without memory would."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        children = Path("/proc/self/task").glob("*/children")
        found = [pid for path in children for pid in path.read_text().split()]
        for pid in found:
            if "wandb-core" in Path(f"/proc/{pid}/cmdline").read_text() and trainer.global_step == 1:
                os.kill(int(pid), signal.SIGKILL)
                print("killed the service")
