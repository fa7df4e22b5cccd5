"""The miniature's clips, to train and to test on."""

from pathlib import Path
from typing import Any

from datamodules.clip_datamodule import ClipDataModule
from datamodules.contracts import CaptionSource, CaptionStage, expect
from datamodules.packed_splits import PackedSplits
from miniature.corpora import SPLITS
from miniature.splits import ensure_split, folder_of


class WrittenSplits(PackedSplits):
    """Splits that write themselves, once, where they are missing or made with other settings.

    Args:
        world_seed: of the world; another seed is another world.
        max_clips: of each split, for a quick try; they are in a folder of their own. None takes all.
        arguments: of the datamodule that reads them.
    """

    def __init__(
        self, root: str = "data/miniature", world_seed: int = 0, max_clips: int | None = None, **arguments: Any
    ) -> None:
        super().__init__(folder_of(root, max_clips), **arguments)
        self.prepare_data_per_node = False  # nodes share the folder, as everything under runs/ and exports/
        self.world_seed = world_seed
        self.max_clips = max_clips

    def prepare_data(self) -> None:
        """Write the splits that the command reads, and those that a stage asks a caption datamodule for."""
        assert self.trainer is not None and self.trainer.state.fn is not None
        command, stage = self.trainer.state.fn.value, self.trainer.lightning_module
        splits = set(self.wanted(command).values())
        if isinstance(self, CaptionSource):
            splits |= expect(CaptionStage, stage, "the stage").more_splits(command)
        for split in sorted(SPLITS.keys() & splits):
            ensure_split(Path(self.root), split, self.world_seed, self.max_clips)


class Miniature(WrittenSplits, ClipDataModule):
    """A `ClipDataModule` of `WrittenSplits`."""
