"""A global batch is the same however many devices and batches make it up."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datamodules.batch_order import BatchOrder
from datamodules.caption_datamodule import CaptionDataModule
from datamodules.settings import divide_global_batch
from datamodules.stream_plan import train_share, train_steps
from datamodules.text_loader import TextLoader
from earshot.errors import InputError


def divided(total: int | None, devices: int, at_once: int, accumulated: int = 1) -> tuple[int, int]:
    """Clips of a device at a time, and how often it takes them in a step."""
    data: Any = SimpleNamespace(batch_size=at_once, global_batch_size=total)
    data.trainer = SimpleNamespace(world_size=devices, accumulate_grad_batches=accumulated)
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
def test_streams_have_as_many_steps_and_no_clip_twice(devices: int) -> None:
    counts, accumulate = [13, 40, 37], 4 // devices
    assert train_steps(counts, 4, devices, accumulate) == 5 * accumulate
    seen = []
    for rank in range(devices):
        share = train_share(counts, 4, world=devices, rank=rank, accumulate=accumulate)
        seen += [(piece.shard, number) for piece in share.pieces for number in range(piece.start, piece.stop)]
    assert len(seen) == len(set(seen)) == 80


def test_too_few_texts_for_a_step_are_told() -> None:
    with pytest.raises(InputError, match="at least 32, a batch of 8 on each of 2 devices, 2 times, found 31 texts"):
        TextLoader(31, lambda rows: rows, 8, BatchOrder(0, 2, accumulate=2))


def test_a_run_is_not_resumed_with_another_global_batch() -> None:
    data = CaptionDataModule("nowhere", train="x.csv", global_batch_size=64)
    data.read["x.csv"] = SimpleNamespace(texts=["a"], digest="d" * 20)  # type: ignore[assignment]
    data.trainer = SimpleNamespace(world_size=4)  # type: ignore[assignment]
    assert data.state_dict()["global_batch_size"] == 64
