"""The miniature, its captions to train on and its clips to test on."""

from datamodules.caption_datamodule import CaptionDataModule
from miniature.clips import WrittenSplits


class MiniatureCaptions(WrittenSplits, CaptionDataModule):
    """A `CaptionDataModule` of `WrittenSplits`."""
