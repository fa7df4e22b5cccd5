"""The captions that an inference strategy searches in, wherever they come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from datamodules.contracts import CaptionSource
from earshot.errors import InputError
from lightning_modules.contracts import InferenceStrategy
from lightning_modules.embeddings.memory import Memory
from lightning_modules.embeddings.store import EmbeddingStore


@dataclass
class Searched:
    """An inference strategy and its captions: those of `data.train`, or else those that an export keeps.

    Attributes:
        strategy: None where audio embeddings are decoded as they are, and nothing is searched in.
        memory: None until there is one.
    """

    strategy: InferenceStrategy | None
    memory: Memory | None = None

    def split(self, data: CaptionSource) -> str | None:
        """The split that is searched in; None without a strategy, or where the captions are an export's."""
        return None if self.strategy is None else data.train

    def read(self, data: CaptionSource, store: Callable[[], EmbeddingStore]) -> None:
        """Search in that split, where there is one.

        Raises:
            InputError: a strategy has no captions to search in.
        """
        if (split := self.split(data)) is not None:
            self._take(store().memory(split))
        elif self.strategy is not None and self.memory is None:
            raise InputError("expected training captions to search in, found none; set data.init_args.train")

    def load(self, folder: Path) -> None:
        """Search in the captions of an export, where it has any and a strategy searches."""
        if self.strategy is not None and (memory := Memory.load(folder)) is not None:
            self._take(memory)

    def _take(self, memory: Memory) -> None:
        assert self.strategy is not None
        self.strategy.remember(memory.embeddings)
        self.memory = memory

    def nearest(self, audio: Tensor) -> list[list[tuple[str, float]]]:
        """The captions nearest to each of B audio embeddings (B, D), with their cosines; none where none are known."""
        return self.memory.nearest(audio) if self.memory else [[] for _ in audio]
