"""What an export keeps for an inference strategy."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from earshot.errors import InputError
from lightning_modules.contracts import Embedded
from lightning_modules.embeddings.memory import Memory
from lightning_modules.embeddings.searched import LEARNT, Searched
from lightning_modules.strategies.comet import CometAudio
from lightning_modules.strategies.nearest_neighbour import NearestNeighbour


@pytest.fixture()
def export(tmp_path: Path) -> Path:
    """The axes of random pairs of wavcaps/train."""
    strategy = CometAudio(rank=2)
    pairs = Embedded(torch.randn(9, 5), [str(number) for number in range(9)])
    strategy.prepare(lambda *_: pairs, lambda *_: pairs)
    Searched(strategy).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("split", "known"), [("wavcaps/train", 5), ("audiocaps/train", 0)])
def test_what_was_learnt_of_another_split_is_not_taken(export: Path, split: str, known: int) -> None:
    strategy = CometAudio(rank=2, split=split)
    Searched(strategy).load(export, 5)
    assert len(strategy.text_mean) == known


def test_an_export_that_does_not_say_where_it_learnt(export: Path) -> None:
    save_file(load_file(export / LEARNT), export / LEARNT, {"class": "CometAudio"})
    strategy = CometAudio(rank=2, split="audiocaps/train")
    Searched(strategy).load(export, 5)
    assert len(strategy.text_mean) == 5


def test_captions_of_another_clap_are_named(tmp_path: Path) -> None:
    Memory(torch.ones(3, 7), ["rain", "wind", "a dog"]).save(tmp_path)
    searched = Searched(NearestNeighbour())
    with pytest.raises(InputError, match=r"expected embeddings of width 5 in .*, found \[3, 7\]"):
        searched.load(tmp_path, 5)
    searched.load(tmp_path, 7)
    assert searched.memory is not None and searched.memory.texts == ["rain", "wind", "a dog"]


def test_captions_that_can_come_from_nowhere_else_are_missed(tmp_path: Path) -> None:
    Searched(NearestNeighbour()).load(tmp_path, 5)  # the data have some
    Searched(None).load(tmp_path, 5, alone=True)  # nothing is searched in
    with pytest.raises(InputError, match=r"expected captions to search in in .*, found no memory\.safetensors"):
        Searched(NearestNeighbour()).load(tmp_path, 5, alone=True)
