"""A global batch is the same however many devices and batches make it up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from datamodules.batch_order import BatchOrder
from datamodules.caption_datamodule import CaptionDataModule
from datamodules.settings import divide_global_batch, global_batch, go_on_with
from datamodules.stream_plan import train_steps
from datamodules.text_loader import TextLoader
from earshot.errors import InputError
from tests.toys import ToyStage


def divided(total: int | None, devices: int, at_once: int, accumulated: int = 1) -> tuple[int, int]:
    """Clips of a device at a time, and how often it takes them in a step."""
    data: Any = SimpleNamespace(batch_size=at_once, global_batch_size=total)
    data.trainer = SimpleNamespace(world_size=devices, accumulate_grad_batches=accumulated, val_check_interval=1.0)
    for _ in range(2):  # Lightning may set a datamodule up twice
        divide_global_batch(data)
    return data.batch_size, data.trainer.accumulate_grad_batches


@pytest.mark.parametrize(
    ("total", "devices", "at_once", "expected"),
    [
        (256, 4, 64, (64, 1)),
        (256, 1, 64, (64, 4)),
        (256, 8, 64, (32, 1)),
        (160, 2, 40, (40, 2)),
        (64, 4, 64, (16, 1)),  # WSAC's and the classifier's, which are not 256 on four GPUs
        (16, 1, 8, (8, 2)),
        (None, 4, 64, (64, 1)),
    ],
)
def test_shares(total: int | None, devices: int, at_once: int, expected: tuple[int, int]) -> None:
    assert divided(total, devices, at_once) == expected


@pytest.mark.parametrize(
    ("total", "devices", "at_once", "accumulated", "message"),
    [
        (64, 3, 64, 1, "expected data.global_batch_size in equal shares for 3 devices, found 64; change it"),
        (2, 4, 64, 1, "equal shares for 4 devices, found 2"),
        (0, 1, 64, 1, "equal shares for 1 devices, found 0"),
        (160, 1, 24, 1, "to divide 160, the share of each of 1 devices .* 160, found 24; take 20,"),
        (160, 2, 40, 4, "accumulate_grad_batches 2, as data.global_batch_size 160 gives, found 4; leave one of them"),
    ],
)
def test_what_does_not_divide(total: int, devices: int, at_once: int, accumulated: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        divided(total, devices, at_once, accumulated)


@pytest.mark.parametrize(
    ("interval", "at_once", "expected"),
    [(2, 4, [2, 4, 5]), (2, 16, [2, 4, 5]), (0.4, 4, [2, 4, 5]), (1.0, 4, [5])],
)
def test_validation_is_after_the_same_optimizer_step(
    interval: float, at_once: int, expected: list[int], tmp_path: Path
) -> None:
    """Of 80 captions in steps of 16, in batches of 4 and of 16; Lightning would count the batches. 5 ends the epoch."""
    seen: list[int] = []

    class Stage(ToyStage):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.layer.weight.sum()

        def on_validation_start(self) -> None:
            seen.append(self.global_step)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            pass

    (tmp_path / "some.csv").write_text("id,caption\n" + "".join(f"{row},a dog {row}\n" for row in range(80)))
    data = CaptionDataModule(
        str(tmp_path), train="some.csv", val="some.csv", num_workers=0, global_batch_size=16, batch_size=at_once
    )
    L.Trainer(
        accelerator="cpu", max_epochs=1, val_check_interval=interval, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    ).fit(Stage(), data)  # fmt: skip
    assert list(dict.fromkeys([*seen, 5])) == expected


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_steps_have_the_same_captions_on_any_number_of_devices(devices: int) -> None:
    """90 captions in steps of 16: five, as on one device without accumulation, and no step of a few left over."""
    accumulate = 4 // devices

    def batches(rank: int, world: int, size: int, accumulate: int) -> list[np.ndarray]:
        return list(TextLoader(90, lambda rows: rows, size, BatchOrder(rank, world, 1, accumulate=accumulate)))

    whole = batches(0, 1, 16, 1)
    ranks = [batches(rank, devices, 4, accumulate) for rank in range(devices)]
    assert [len(given) for given in ranks] == [5 * accumulate] * devices
    for step, expected in enumerate(whole):
        own = slice(step * accumulate, (step + 1) * accumulate)
        assert sorted(np.concatenate([batch for given in ranks for batch in given[own]])) == sorted(expected)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_streams_have_as_many_steps(devices: int) -> None:
    assert train_steps([13, 40, 37], 4, devices, 4 // devices) == 5 * 4 // devices


def test_too_few_texts_for_a_step_are_told() -> None:
    with pytest.raises(InputError, match="at least 32, a batch of 8 on each of 2 devices, 2 times, found 31 texts"):
        TextLoader(31, lambda rows: rows, 8, BatchOrder(0, 2, accumulate=2))


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_the_state_of_a_run_is_the_same_on_any_number_of_devices(devices: int) -> None:
    data = CaptionDataModule("nowhere", train="x.csv", batch_size=16, global_batch_size=64)
    data.read["x.csv"] = SimpleNamespace(texts=["a"], digest="d" * 20)  # type: ignore[assignment]
    data.trainer = SimpleNamespace(world_size=devices, accumulate_grad_batches=1, val_check_interval=1.0)  # type: ignore[assignment]
    divide_global_batch(data)
    assert data.state_dict() == {
        "train": "x.csv", "train_captions": 1, "digest of train_captions": "d" * 12, "seed": data.seed,
        "global_batch": 64,
    }  # fmt: skip


@pytest.mark.parametrize(("devices", "at_once", "expected"), [(1, 4, (4, 4)), (4, 8, (4, 1)), (8, 8, (2, 1))])
def test_a_resumed_run_holds_the_global_batch(devices: int, at_once: int, expected: tuple[int, int]) -> None:
    """It began on two devices with 8 at a time."""
    data = resumed(devices, at_once)
    go_on_with(data, {"global_batch": 16, "seed": 1})
    assert (data.batch_size, data.trainer.accumulate_grad_batches) == expected


@pytest.mark.parametrize(
    ("devices", "at_once", "total", "message"),
    [
        (3, 8, None, "expected data.global_batch_size in equal shares for 3 devices, found 16; change it"),
        (1, 6, None, "expected data.batch_size to divide 16, .* found 6; take 4"),
        (2, 8, 32, "expected global_batch 16 as in the checkpoint, found 32"),
    ],
)
def test_a_global_batch_that_cannot_be_held(devices: int, at_once: int, total: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        go_on_with(resumed(devices, at_once, total), {"global_batch": 16, "seed": 1})


def resumed(devices: int, at_once: int, total: int | None = None) -> Any:
    trainer = SimpleNamespace(
        world_size=devices, accumulate_grad_batches=1, val_check_interval=1.0,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
    )  # fmt: skip
    data: Any = SimpleNamespace(batch_size=at_once, global_batch_size=total, trainer=trainer)
    data.state_dict = lambda: {"global_batch": global_batch(data), "seed": 1}
    if total is not None:
        divide_global_batch(data)
    return data
