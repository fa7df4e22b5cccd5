"""What WSAC's inference strategy knows: the captions that it searches in, and what it learns of whole splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from datamodules.contracts import CaptionSource
from earshot.errors import InputError
from lightning_modules.contracts import InferenceStrategy, Prepared, SearchesCaptions
from lightning_modules.embeddings.memory import FILE, Memory
from lightning_modules.embeddings.store import EmbeddingStore

LEARNT = "inference_strategy.safetensors"  # in an export
SPLITS = "splits"  # in that file's header


@dataclass
class Searched:
    """An inference strategy with its captions, those of `data.train` or else those that an export keeps.

    Attributes:
        strategy: None where audio embeddings are decoded as they are, and nothing is searched in.
        memory: None until there is one.
    """

    strategy: InferenceStrategy | None
    memory: Memory | None = None

    def split(self, data: CaptionSource) -> str | None:
        """The split that is searched in; None where the strategy searches in none, or the captions are an export's."""
        return data.train if isinstance(self.strategy, SearchesCaptions) else None

    @property
    def learns_from(self) -> set[str]:
        """The splits whose captions or audio the strategy learns from."""
        return self.strategy.splits if isinstance(self.strategy, Prepared) else set()

    @property
    def _learnt_from(self) -> str:
        return " ".join(sorted(self.learns_from))

    def splits(self, data: CaptionSource) -> set[str]:
        """All that it may read at inference."""
        return self.learns_from | ({split} if (split := self.split(data)) is not None else set())

    def learn(self, store: Callable[[], EmbeddingStore]) -> None:
        """Let the strategy learn from its splits."""
        if isinstance(self.strategy, Prepared) and self.learns_from:
            self.strategy.prepare(store().captions, store().audio)

    def read(self, data: CaptionSource, store: Callable[[], EmbeddingStore]) -> None:
        """Learn what no export had, and search in the split that is searched in, where there is one.

        Raises:
            InputError: a strategy has no captions to search in.
        """
        self.learn(store)
        if (split := self.split(data)) is not None:
            self._take(store().memory(split))
        elif isinstance(self.strategy, SearchesCaptions) and self.memory is None:
            raise InputError("expected training captions to search in, found none; set data.init_args.train")

    def save(self, folder: Path) -> None:
        """Write what the strategy learnt into an export."""
        if self.strategy is not None and self.learns_from:
            state = {name: value.contiguous() for name, value in self.strategy.state_dict().items()}
            save_file(state, folder / LEARNT, {"class": type(self.strategy).__name__, SPLITS: self._learnt_from})

    def load(self, folder: Path, width: int, alone: bool = False) -> None:
        """Take from an export what one of the strategy's class learnt of the same splits, and captions to search in.

        What was learnt of other splits stays there: the strategy learns anew from those that this run names.

        Args:
            folder: of the export.
            width: D of CLAP's embeddings.
            alone: whether captions can come from nowhere else, as there are no data.

        Raises:
            InputError: the captions' embeddings are not of this `width`, or `alone` has none.
        """
        if self.strategy is not None and self.learns_from and (folder / LEARNT).is_file():
            with safe_open(folder / LEARNT, "pt") as file:
                note = file.metadata() or {}
                same = note.get(SPLITS, self._learnt_from) == self._learnt_from  # earlier exports have no such note
                if same and note.get("class") == type(self.strategy).__name__:
                    self.strategy.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        if isinstance(self.strategy, SearchesCaptions):
            if (memory := Memory.load(folder, width)) is not None:
                self._take(memory)
            elif alone:
                raise InputError(
                    f"expected captions to search in in {folder}/, found no {FILE}; train it anew, or name another "
                    "export"
                )

    def _take(self, memory: Memory) -> None:
        assert isinstance(self.strategy, SearchesCaptions)
        self.strategy.remember(memory.embeddings)
        self.memory = memory

    def nearest(self, audio: Tensor) -> list[list[tuple[str, float]]]:
        """The captions nearest to each of B audio embeddings (B, D), with their cosines; none where none are known."""
        return self.memory.nearest(audio) if self.memory else [[] for _ in audio]
