"""The miniature's clips, to train and to test on."""

from pathlib import Path
from typing import Any

from datamodules.clip_datamodule import ClipDataModule
from miniature.corpora import SPLITS
from miniature.splits import ensure_split, folder_of


class Miniature(ClipDataModule):
    """A `ClipDataModule` whose splits write themselves, once, where they are missing.

    Args:
        world_seed: of the world; another seed is another world.
        max_clips: of each split, for a quick try; they are in a folder of their own. None takes all.
        arguments: of `ClipDataModule`.
    """

    def __init__(
        self, root: str = "data/miniature", world_seed: int = 0, max_clips: int | None = None, **arguments: Any
    ) -> None:
        super().__init__(folder_of(root, max_clips), **arguments)
        self.prepare_data_per_node = False  # nodes share the folder, as everything under runs/ and exports/
        self.world_seed = world_seed
        self.max_clips = max_clips

    def prepare_data(self) -> None:
        """Write the splits that the command reads, where they are missing or made with other settings."""
        assert self.trainer is not None and self.trainer.state.fn is not None
        for split in sorted(SPLITS.keys() & set(self.wanted(self.trainer.state.fn.value).values())):
            ensure_split(Path(self.root), split, self.world_seed, self.max_clips)
