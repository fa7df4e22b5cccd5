"""The miniature, its captions to train on and its clips to test on."""

from pathlib import Path
from typing import Any

from datamodules.caption_datamodule import CaptionDataModule
from datamodules.contracts import CaptionStage, expect
from miniature import ensure_split, folder_of
from miniature.corpora import SPLITS


class MiniatureCaptions(CaptionDataModule):
    """A `CaptionDataModule` whose splits write themselves, once, where they are missing.

    Args:
        world_seed: of the world; another seed is another world.
        max_clips: at most so many clips a split, in a folder of their own, for a quick try; None takes all.
        arguments: of `CaptionDataModule`.
    """

    def __init__(
        self, root: str = "data/miniature", world_seed: int = 0, max_clips: int | None = None, **arguments: Any
    ) -> None:
        super().__init__(folder_of(root, max_clips), **arguments)
        self.prepare_data_per_node = False  # nodes share the folder, as everything under runs/ and exports/
        self.world_seed = world_seed
        self.max_clips = max_clips

    def prepare_data(self) -> None:
        """Write the splits that the command reads, those the stage asks for too (`more_splits`)."""
        assert self.trainer is not None and self.trainer.state.fn is not None
        command = self.trainer.state.fn.value
        more = expect(CaptionStage, self.trainer.lightning_module, "the stage").more_splits(command)
        for split in sorted(SPLITS.keys() & {*self.wanted(command).values(), *more}):
            ensure_split(Path(self.root), split, self.world_seed, self.max_clips)
