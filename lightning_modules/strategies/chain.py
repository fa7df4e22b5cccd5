"""Several of WSAC's training strategies, applied one after the other."""

import re
from pathlib import Path
from typing import cast

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_modules.contracts import Embed, Renormalises, TrainingStrategy


class StrategyChain(nn.ModuleList):
    """A training strategy made of others; none of them leaves the embeddings as they are.

    Args:
        strategies: in the order in which they are applied.
    """

    def __init__(self, strategies: list[TrainingStrategy]) -> None:
        super().__init__(cast(list[nn.Module], strategies))
        self.strategies = tuple(strategies)  # the same objects, as the contract that they keep

    @property
    def names(self) -> list[str]:
        """The names of their classes, as file names; a second one of a class has its number behind."""
        plain = [re.sub(r"(?<!^)(?=[A-Z])", "_", type(strategy).__name__).lower() for strategy in self.strategies]
        before = [plain[:place].count(name) for place, name in enumerate(plain)]
        return [f"{name}_{number + 1}" if number else name for name, number in zip(plain, before)]

    @property
    def settings(self) -> dict[str, list[str]]:
        """The names of all, and of those that scale what they return to norm 1, at inference too."""
        scaled = (isinstance(each, Renormalises) and each.renormalise for each in self.strategies)
        return {"strategies": self.names, "renormalised": [name for name, own in zip(self.names, scaled) if own]}

    @property
    def splits(self) -> set[str]:
        """The splits whose captions or audio `prepare` reads."""
        return set().union(*(strategy.splits for strategy in self.strategies))

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Prepare each of them."""
        for strategy in self.strategies:
            strategy.prepare(text, audio)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Text embeddings (B, D) to (B, D)."""
        for strategy in self.strategies:
            embeddings = strategy(embeddings)
        return embeddings

    def as_in_training(self, embeddings: Tensor) -> Tensor:
        """Text embeddings (B, D) to (B, D), with what is done in training alone, such as noise."""
        mode = self.training
        changed: Tensor = self.train()(embeddings)
        self.train(mode)
        return changed

    def save(self, folder: Path) -> None:
        """Write what each of them knows."""
        for strategy, name in zip(self.strategies, self.names):
            state = {key: value.contiguous() for key, value in strategy.state_dict().items()}
            save_file(state, folder / f"{name}.safetensors")

    def load(self, folder: Path) -> None:
        """Take what `save` wrote."""
        for strategy, name in zip(self.strategies, self.names):
            strategy.load_state_dict(load_file(folder / f"{name}.safetensors"))
