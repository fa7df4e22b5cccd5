"""The captions that an inference strategy searches in, wherever they come from."""

from dataclasses import dataclass

from torch import Tensor

from earshot.errors import InputError
from lightning_modules.contracts import InferenceStrategy
from lightning_modules.embeddings.memory import Memory


@dataclass
class Searched:
    """An inference strategy and its captions: those of `data.train`, or else those that an export keeps.

    Attributes:
        strategy: None where audio embeddings are decoded as they are, and nothing is searched in.
        memory: None until there is one.
    """

    strategy: InferenceStrategy | None
    memory: Memory | None = None

    def take(self, memory: Memory | None) -> None:
        """Search in these captions from now on; nothing changes without a strategy, or without captions."""
        if self.strategy is not None and memory is not None:
            self.strategy.remember(memory.embeddings)
            self.memory = memory

    def require(self) -> None:
        """Check that there are captions where a strategy searches in them.

        Raises:
            InputError: there are none.
        """
        if self.strategy is not None and self.memory is None:
            raise InputError("expected training captions to search in, found none; set data.init_args.train")

    def nearest(self, audio: Tensor) -> list[list[tuple[str, float]]]:
        """The captions nearest to each of B audio embeddings (B, D), with their cosines; none where none are known."""
        return self.memory.nearest(audio) if self.memory else [[] for _ in audio]
