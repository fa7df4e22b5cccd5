"""The miniature's clips for Lightning."""

from pathlib import Path
from typing import Any

from datamodules.clip_datamodule import SPLITS_OF, ClipDataModule
from earshot.errors import InputError
from miniature.corpora import SPLITS
from miniature.splits import ensure_split


class Miniature(ClipDataModule):
    """A `ClipDataModule` whose splits write themselves, once, where they are missing.

    Args:
        world_seed: of the world; another seed is another world.
        max_clips: at most so many clips a split, in a folder of their own, for a quick try; None takes all.
        arguments: of `ClipDataModule`.
    """

    def __init__(
        self, root: str = "data/miniature", world_seed: int = 0, max_clips: int | None = None, **arguments: Any
    ) -> None:
        super().__init__(root if max_clips is None else f"{root}/first-{max_clips}", **arguments)
        if max_clips is not None and max_clips < 1:
            raise InputError(f"expected max_clips of at least 1 or null, found {max_clips}; correct it")
        self.prepare_data_per_node = False  # nodes share the folder, as everything under runs/ and exports/
        self.world_seed = world_seed
        self.max_clips = max_clips

    def prepare_data(self) -> None:
        """Write the splits that the command reads, where they are missing or made with other settings."""
        assert self.trainer is not None and self.trainer.state.fn is not None
        for split in SPLITS.keys() & {getattr(self, name) for name in SPLITS_OF[self.trainer.state.fn.value]}:
            ensure_split(Path(self.root), split, self.world_seed, self.max_clips)
