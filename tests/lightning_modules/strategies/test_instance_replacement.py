"""Instance replacement against a plain version in float64, and its draws."""

import numpy as np
import pytest
import torch

from earshot.errors import InputError
from lightning_modules.contracts import Embed, Embedded
from lightning_modules.networks.step_draws import Part, changed
from lightning_modules.strategies.instance_replacement import InstanceReplacement, distinct

CAPTIONS = torch.nn.functional.normalize(torch.randn(12, 6, generator=torch.Generator().manual_seed(3)), dim=1)
REPEATED = torch.cat((CAPTIONS[[4]], CAPTIONS, CAPTIONS[[0, 0]]))  # some captions are there several times


def given(embeddings: torch.Tensor) -> Embed:
    return lambda split, num_clips=None: {"mine/train": Embedded(embeddings, [])}[split]


def strategy(**more: object) -> InstanceReplacement:
    made = InstanceReplacement("mine/train", **more)  # type: ignore[arg-type]
    made.prepare(given(REPEATED), pytest.fail)  # type: ignore[arg-type]
    return made


def plain_neighbours(row: int, number: int) -> set[int]:
    """The `number` other captions with the highest cosine similarity, one by one."""
    plain = CAPTIONS.double().numpy()
    cosines = {
        other: float(plain[row] @ plain[other] / np.linalg.norm(plain[row]) / np.linalg.norm(plain[other]))
        for other in range(len(plain))
        if other != row
    }
    return set(sorted(cosines, key=cosines.__getitem__, reverse=True)[:number])


def rows_of(embeddings: torch.Tensor) -> list[int]:
    return [int((CAPTIONS - each).norm(dim=1).argmin()) for each in embeddings]


@pytest.mark.parametrize("chunk_size", [None, 1, 5])
@pytest.mark.parametrize("number", [1, 3])
def test_all_neighbours_and_no_other_are_drawn(number: int, chunk_size: int | None) -> None:
    replace = strategy(probability=1.0, num_neighbours=number, chunk_size=chunk_size)
    drawn: list[set[int]] = [set() for _ in CAPTIONS]
    for _ in range(100):
        found = replace(CAPTIONS)
        for row, other in enumerate(rows_of(found)):
            drawn[row].add(other)
            torch.testing.assert_close(found[row], CAPTIONS[other])
    assert drawn == [plain_neighbours(row, number) for row in range(len(CAPTIONS))]


def test_as_often_as_said_and_only_in_training() -> None:
    replace = strategy(probability=0.25, num_neighbours=2)
    many = CAPTIONS.repeat(500, 1)
    changes = (replace(many) != many).any(1).float().mean().item()
    assert changes == pytest.approx(0.25, abs=0.02)
    assert replace.eval()(many) is many


def test_draws_of_a_step_do_not_depend_on_its_parts() -> None:
    """A caption is replaced by the same one, however many devices share the step."""
    replace = strategy(probability=0.7, num_neighbours=3)
    whole = changed(replace, CAPTIONS, Part(seed=1, step=5, number=0, batches=1))
    halves = [changed(replace, CAPTIONS[6 * n : 6 * n + 6], Part(1, 5, n, 2)) for n in (0, 1)]
    torch.testing.assert_close(torch.cat(halves), whole)
    assert not torch.equal(changed(replace, CAPTIONS, Part(1, 6, 0, 1)), whole)


def test_each_caption_is_remembered_once_in_its_order() -> None:
    assert distinct(REPEATED).tolist() == [0, 1, 2, 3, 4, *range(6, 13)]
    assert REPEATED[distinct(REPEATED)][0].tolist() == CAPTIONS[4].tolist()


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(InputError, match="expected a probability from 0 to 1"):
        InstanceReplacement(probability=1.5)
    with pytest.raises(InputError, match="more than 12 different captions in mine/train, found 12"):
        strategy(num_neighbours=12)
