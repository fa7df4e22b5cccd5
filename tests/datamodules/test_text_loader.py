"""Texts in batches: each once an epoch, over the ranks, from any position."""

import numpy as np
import pytest

from datamodules.batch_order import BatchOrder
from datamodules.text_loader import TextLoader
from earshot.errors import InputError

CAPTIONS = [f"caption {i}" for i in range(23)]


def texts(rows: np.ndarray) -> list[str]:
    return [CAPTIONS[row] for row in rows]


def epoch(position: int = 0, rank: int = 0, world_size: int = 1) -> list[list[str]]:
    order = BatchOrder(rank, world_size, seed=1, position=lambda: position)
    return list(TextLoader(len(CAPTIONS), texts, 4, order))


def test_an_epoch_has_each_caption_at_most_once_in_another_order_each_time() -> None:
    first, second = epoch(0), epoch(5)
    assert [len(batch) for batch in first] == [4] * 5
    assert len({text for batch in first for text in batch}) == 20
    assert first != second and first == epoch(0)


def test_a_resumed_run_goes_on_with_the_next_batch() -> None:
    assert epoch(3)[:2] == epoch(0)[3:]
    assert epoch(3)[2:] == epoch(5)[:3]


def test_ranks_share_the_captions() -> None:
    ranks = [epoch(0, rank=rank, world_size=2) for rank in (0, 1)]
    assert [len(batches) for batches in ranks] == [2, 2]
    assert len({text for batches in ranks for batch in batches for text in batch}) == 16


@pytest.mark.parametrize("world", [1, 2, 5])
def test_evaluation_has_each_caption_once_and_ranks_as_many_batches(world: int) -> None:
    ranks = [list(TextLoader(23, texts, 4, BatchOrder(rank, world), shuffle=False)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert [text for batches in ranks for batch in batches for text in batch] == CAPTIONS


def test_fewer_captions_than_a_batch_are_told() -> None:
    with pytest.raises(InputError, match="at least 64, a batch of 64 on each of 1 devices, found 23 texts"):
        TextLoader(23, texts, 64)
