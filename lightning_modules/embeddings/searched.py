"""The captions that WSAC's inference strategy searches in, where it does, wherever they come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from datamodules.contracts import CaptionSource
from earshot.errors import InputError
from lightning_modules.contracts import InferenceStrategy, SearchesCaptions
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
        """The split that is searched in; None where the strategy searches in none, or the captions are an export's."""
        return data.train if isinstance(self.strategy, SearchesCaptions) else None

    def read(self, data: CaptionSource, store: Callable[[], EmbeddingStore]) -> None:
        """Search in that split, where there is one.

        Raises:
            InputError: a strategy has no captions to search in.
        """
        if (split := self.split(data)) is not None:
            self._take(Memory(store().captions(split).embeddings, data.captions_of(split).texts))
        elif isinstance(self.strategy, SearchesCaptions) and self.memory is None:
            raise InputError("expected training captions to search in, found none; set data.init_args.train")

    def load(self, folder: Path) -> None:
        """Search in the captions of an export, where it has any and a strategy searches."""
        if isinstance(self.strategy, SearchesCaptions) and (memory := Memory.load(folder)) is not None:
            self._take(memory)

    def _take(self, memory: Memory) -> None:
        assert isinstance(self.strategy, SearchesCaptions)
        self.strategy.remember(memory.embeddings)
        self.memory = memory

    def nearest(self, audio: Tensor) -> list[list[tuple[str, float]]]:
        """The captions nearest to each of B audio embeddings (B, D), with their cosines; none where none are known."""
        return self.memory.nearest(audio) if self.memory else [[] for _ in audio]
