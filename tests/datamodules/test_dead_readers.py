"""A process that reads may die between its promise of an item and the item."""

from collections.abc import Iterator

import pytest

from datamodules.dead_readers import read_by_others
from earshot.errors import InputError


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_reader_that_dies_while_its_item_is_fetched_is_one_line(error: Exception) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise error

    reading = read_by_others(items())
    assert next(reading) == 1
    with pytest.raises(InputError, match="expected processes that read to go on, found: DataLoader worker gone"):
        next(reading)


def test_what_the_reader_of_the_items_raises_is_not_the_readers() -> None:
    with pytest.raises(ConnectionResetError):
        for _ in read_by_others([1, 2]):
            raise ConnectionResetError
