"""Random numbers that depend on the step alone, so that a resumed run draws those of an unbroken one."""

import os
from typing import Any

import lightning as L
import numpy as np
import torch


class SeedSteps(L.Callback):
    """Seed torch before every training step from (seed_everything, rank, number of the step).

    A checkpoint holds no state of the random number generators, and with several ranks could hold only that of rank 0:
    without this callback, dropout differs after resuming. It does nothing with `seed_everything: false`.
    """

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed the generators of the CPU and of the device."""
        seed = os.environ.get("PL_GLOBAL_SEED")  # set by Lightning's seed_everything
        if seed is not None:
            entropy = (int(seed), trainer.global_rank, trainer.fit_loop.total_batch_idx)
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
