"""A callback by which a test knows what each rank trained on, and which leaves the test time for a signal."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor


class Noted(L.Callback):
    """Each rank appends a line for each training step to noted-<job>-<rank>.txt: its number and what was in the batch.

    Args:
        seconds: how much longer a step takes, as long as there is a file named slow.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        held = hashlib.sha256(batch.numpy()).hexdigest() if isinstance(batch, Tensor) else " ".join(batch.clip_ids)
        with open(f"noted-{os.environ['SLURM_JOB_ID']}-{trainer.global_rank}.txt", "a") as file:
            print(trainer.global_step, held, file=file)
        time.sleep(self.seconds if Path("slow").exists() else 0)
