"""A loader of media files for predict: every readable file once, over all ranks."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.batch_order import ALONE, BatchOrder, KeepsNoState
from datamodules.clip_loader import worker_signals
from datamodules.clip_reader import Clip, collate, filler_batch
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.media import MediaError
from datamodules.media_clips import read_beginning


@dataclass(eq=False)
class MediaFiles(Dataset[Clip | str]):
    """Each file's clip, or a line on why there is none."""

    files: list[tuple[str, Path]]
    clip_format: ClipFormat

    def __len__(self) -> int:
        """How many files there are."""
        return len(self.files)

    def __getitem__(self, index: int) -> Clip | str:
        """The beginning of a file, as long as the stage takes it."""
        name, path = self.files[index]
        try:
            return read_beginning(name, path, self.clip_format).clip
        except MediaError as error:
            return f"{path}: {error.reason}: {error}"
        except OSError as error:
            return f"{path}: broken: {error}"


@dataclass(eq=False)
class MediaLoader(KeepsNoState):
    """Batches of files, in order; filler batches give each rank as many, and stand for batches of broken files.

    Args:
        files: by clip id.
        clip_format: what to decode.
        batch_size: files of a batch of one rank.
        order: of which the rank counts.
        num_workers: processes that read; 0 reads in this one.

    Attributes:
        broken: a line on each file that could not be read; there is a warning of each.
    """

    files: dict[str, Path]
    clip_format: ClipFormat
    batch_size: int
    order: BatchOrder = ALONE
    num_workers: int = 0
    broken: set[str] = field(default_factory=set)

    @property
    def num_broken(self) -> int:
        """How many files could not be read."""
        return len(self.broken)

    def __len__(self) -> int:
        """Batches of each rank; a filler where all files are done, so that what follows the last one is done, too."""
        of_rank = -(-len(self.files) // self.order.world_size)
        return max(1, -(-of_rank // self.batch_size))

    def __iter__(self) -> Iterator[ClipBatch]:
        """The rank's batches, then its filler batches."""
        mine = list(self.files.items())[self.order.rank :: self.order.world_size]
        loader = DataLoader(
            MediaFiles(mine, self.clip_format), self.batch_size, num_workers=self.num_workers,
            collate_fn=list, worker_init_fn=worker_signals, generator=torch.Generator(),
        )  # fmt: skip
        given = 0
        for items in loader:
            for line in (item for item in items if isinstance(item, str)):
                self.broken.add(line)
                warnings.warn(f"left out a file ({len(self.broken)} so far): {line}", stacklevel=2)
            clips = [item for item in items if isinstance(item, Clip)]
            yield collate(clips) if clips else filler_batch(self.clip_format)
            given += 1
        if self.broken:
            print(f"left out {len(self.broken)} of {len(mine)} files", flush=True)
        for _ in range(given, len(self)):
            yield filler_batch(self.clip_format)
