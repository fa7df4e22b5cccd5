"""The miniature, its captions to train on and its sounds to test on."""

from pathlib import Path
from typing import Any

from datamodules.caption_datamodule import CaptionDataModule
from miniature.clips import Miniature
from miniature.corpora import SPLITS
from miniature.splits import ensure_split


class MiniatureCaptions(CaptionDataModule, Miniature):
    """The miniature's captions, and its sounds to test on.

    Args:
        arguments: of `Miniature` and `ClipDataModule`.
    """

    def __init__(self, root: str = "data/miniature", **arguments: Any) -> None:
        super().__init__(root, **arguments)

    def prepare_data(self) -> None:
        """Write the splits that the command reads, those the stage asks for too (`more_splits`)."""
        super().prepare_data()
        assert self.trainer is not None and self.trainer.state.fn is not None
        for split in sorted(self.trainer.lightning_module.more_splits(self.trainer.state.fn.value)):  # type: ignore
            if split in SPLITS:
                ensure_split(Path(self.root), split, self.world_seed, self.max_clips)
