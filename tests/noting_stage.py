"""A stage on clips that notes the ids of every training batch, and may die at a step."""

import json
import os
import signal
from pathlib import Path

import lightning as L
import torch

from datamodules.clips import ClipBatch, ClipFormat


class NotingStage(L.LightningModule):
    """A line on each clip's first sample and its frame. Rank r appends [step, batch, ids] to notes/<run>-<r>.jsonl.

    NOTES names the run. EARSHOT_TEST_KILL_AT is the step at which all ranks die.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.place = Path("notes", os.environ["NOTES"])

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat(sampling_rate=1000, image_size=8)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        if str(self.global_step) == os.environ.get("EARSHOT_TEST_KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        with open(f"{self.place}-{self.global_rank}.jsonl", "a") as file:
            file.write(json.dumps([self.global_step, batch_idx, batch.clip_ids]) + "\n")
        inputs = torch.stack([batch.waveforms[:, 0] / 100, batch.images[:, 0, 0, 0] / 100], 1)  # (B, 2)
        return (self.layer(inputs) - 1).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)
