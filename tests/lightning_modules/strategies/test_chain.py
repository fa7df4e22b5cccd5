"""Strategies one after the other."""

from pathlib import Path

import torch
from torch import nn

from lightning_modules.contracts import Embedded
from lightning_modules.strategies.chain import StrategyChain
from lightning_modules.strategies.embedding_shift import EmbeddingShift
from lightning_modules.strategies.noise_injection import NoiseInjection


class Double(nn.Module):
    splits = {"captions", "audio"}

    def prepare(self, text: object, audio: object) -> None:
        pass

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return 2 * embeddings


def shift(value: float) -> EmbeddingShift:
    strategy = EmbeddingShift("pairs")
    strategy.gap = torch.full((3,), value)
    return strategy


def test_applied_in_order() -> None:
    x = torch.ones(2, 3)
    assert StrategyChain([shift(1.0), Double()])(x).tolist() == [[4.0] * 3] * 2
    assert StrategyChain([Double(), shift(1.0)])(x).tolist() == [[3.0] * 3] * 2
    assert StrategyChain([])(x) is x


def test_splits_names_and_preparation() -> None:
    chain = StrategyChain([EmbeddingShift("pairs"), Double()])
    assert chain.splits == {"pairs", "captions", "audio"} and chain.names == ["embedding_shift", "double"]
    chain.prepare(lambda *_: Embedded(torch.zeros(4, 3), []), lambda *_: Embedded(torch.ones(4, 3), []))
    assert chain(torch.zeros(1, 3)).tolist() == [[2.0] * 3]


def test_saved_and_loaded(tmp_path: Path) -> None:
    StrategyChain([shift(0.5), NoiseInjection(0.25)]).save(tmp_path)
    chain = StrategyChain([EmbeddingShift("pairs"), NoiseInjection()])
    chain.load(tmp_path)
    assert chain.state_dict()["0.gap"].tolist() == [0.5] * 3 and chain.state_dict()["1.variance"].item() == 0.25


def test_two_of_one_class_have_files_of_their_own(tmp_path: Path) -> None:
    saved = StrategyChain([shift(0.5), shift(2.0)])
    saved.save(tmp_path)
    assert saved.names == ["embedding_shift", "embedding_shift_2"]
    chain = StrategyChain([EmbeddingShift("pairs"), EmbeddingShift("pairs")])
    chain.load(tmp_path)
    assert chain(torch.zeros(1, 3)).tolist() == [[2.5] * 3]
