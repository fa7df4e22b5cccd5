"""A stage and data that train in milliseconds, for tests of what is around a stage."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from earshot.errors import InputError

STEPS = 8  # of an epoch


class ToyStage(L.LightningModule):
    """A line with dropout. EARSHOT_TEST_KILL_AT names the step where it dies: `train 13`, `validate 16`.

    EARSHOT_TEST_SIGNAL names what it gets there, by default SIGKILL; EARSHOT_TEST_RANK the one rank that does.
    """

    def __init__(self, width: int = 3, scale: float = 1.0, fail: bool = False) -> None:
        super().__init__()
        if fail:
            raise InputError("expected a stage, found a failure; do not ask for one")
        self.save_hyperparameters()
        self.scale, self.died = scale, False
        self.layer = nn.Linear(4, width)
        self.dropout = nn.Dropout(0.5)

    def die_at(self, place: str) -> None:
        chosen = os.environ.get("EARSHOT_TEST_RANK", "all") in ("all", str(self.global_rank))
        if chosen and not self.died and place == os.environ.get("EARSHOT_TEST_KILL_AT"):
            self.died = True  # steps of an accumulated batch have the same number
            for name in os.environ.get("EARSHOT_TEST_SIGNAL", "SIGKILL").split():
                os.kill(os.getpid(), signal.Signals[name])

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.die_at(f"train {self.global_step}")
        loss = (self.dropout(self.layer(batch)) - 1).pow(2).mean()
        self.log("train/loss", loss)
        self.trainer.datamodule.position += 1
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.die_at(f"validate {self.global_step}")
        self.log("val/loss", (self.layer(batch) - 1).pow(2).mean(), sync_dist=True)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log_dict({"test/weight": self.layer.weight.sum(), "test/scale": self.scale})

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.die_at("predict")
        return self.layer(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.layer.parameters(), lr=0.05)


class ExportingStage(ToyStage):
    """With weights to hand over."""

    def export(self, folder: Path) -> None:
        assert not list(folder.iterdir())
        save_file(self.layer.state_dict(), folder / "model.safetensors")

    def load_export(self, folder: Path) -> None:
        self.layer.load_state_dict(load_file(folder / "model.safetensors"))


class WorseningStage(ExportingStage):
    """Its first epoch is its best."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", float(self.global_step), sync_dist=True)


class BestAtStep13(ExportingStage):
    """In the middle of its second epoch."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", abs(float(self.global_step) - 13), sync_dist=True)


class EndsAt(L.Callback):
    """Ends training after so many batches, as Lightning's Timer does after `max_time`, and at each one after that."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.fit_loop.total_batch_idx + 1 >= self.batch


class Batches:
    """Batches of the data module's epoch from its position on."""

    def __init__(self, data: "ToyData", train: bool) -> None:
        self.data, self.train = data, train

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[Tensor]:
        first = self.data.position if self.train else 0
        for position in range(first, first // STEPS * STEPS + STEPS):
            generator = torch.Generator().manual_seed(position)
            yield torch.randn(5, 4, generator=generator)  # (B, 4)


class ToyData(L.LightningDataModule):
    """A batch is a function of the position, which the checkpoint holds."""

    def __init__(self, folder: str | None = None) -> None:
        super().__init__()
        self.position = 0
        self.folder = folder

    def setup(self, stage: str) -> None:
        if self.folder is not None:
            raise InputError(f"expected shards in {self.folder}, found none; do write them")

    def train_dataloader(self) -> Batches:
        return Batches(self, train=True)

    def val_dataloader(self) -> Batches:
        return Batches(self, train=False)

    test_dataloader = predict_dataloader = val_dataloader

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.position = state_dict["position"]
