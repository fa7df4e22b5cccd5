"""A stage whose first rank says each step, and takes SLOW seconds for it."""

import os
import time

from torch import Tensor

from tests.toys import ExportingStage


class SlowStage(ExportingStage):
    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        time.sleep(float(os.environ["SLOW"]))
        if self.global_rank == 0:
            print(f"step {self.trainer.datamodule.position}", flush=True)
        return super().training_step(batch, batch_idx)
