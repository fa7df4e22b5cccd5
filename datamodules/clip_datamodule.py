"""Clips of packed splits for Lightning: reads of each clip what the stage asks for and no more."""

import os
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch

from datamodules.batch_order import BatchOrder
from datamodules.caption_table import read_captions
from datamodules.clip_loader import EvalLoader, TrainLoader
from datamodules.clip_reader import Clip
from datamodules.few_shot import FewShotLoader, drawn_clips, listed_clips
from datamodules.kept_clips import by_clip, kept_shards
from datamodules.packed_splits import PackedSplits
from datamodules.settings import GLOBAL_BATCH, divide_global_batch, global_batch, require_at_least, trainer_of
from datamodules.shards import index_digest, records
from earshot.errors import InputError, command_that_makes

FIRST_CLIPS = 500  # whose captions stand for those of a packed split: a tar is read through, pictures and all


class ClipDataModule(PackedSplits):
    """Streams `ClipBatch`es to a stage whose `clip_format(stage)` returns what it wants of each clip.

    `stage` is "fit" for the training clips, "validate" for the validation clips (in fit too), "test" or "predict". A
    run resumes at the very next batch, on any number of devices; a checkpoint of other settings is refused.

    Args:
        shuffle_window: shards are shuffled, and clips among this many neighbours, over all devices and workers, which
            hold them undecoded.
        num_pairs: train on this number of clips only, drawn by the seed, with their middle frames.
        pairs: train only on the clips that this CSV lists in a column clip_id, id, file_name or youtube_id, with its
            captions where it has any, or that a JSON file of conversations has, such as DALI's `prefixDS.json`.
        captions: CSV of captions by clip, as `predict` writes it, that replace those of the training clips, or such a
            JSON file.
        ids: train only on the clips that this file lists, without packing again (`datamodules.kept_clips`).
        arguments: of `PackedSplits`.
    """

    def __init__(
        self,
        root: str,
        shuffle_window: int = 512,
        num_pairs: int | None = None,
        pairs: str | None = None,
        captions: str | None = None,
        ids: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(root, **arguments)
        self.shuffle_window = shuffle_window
        self.num_pairs = num_pairs
        self.pairs = pairs
        self.captions = captions
        self.ids = ids
        require_at_least(1, shuffle_window=shuffle_window)
        if num_pairs is not None and pairs is not None:
            raise InputError(f"expected num_pairs or pairs, found {num_pairs} and {pairs!r}; set one of them to null")
        few_shot = num_pairs is not None or pairs is not None
        if few_shot and self.train is not None and self.train.rpartition("/")[2] in ("val", "test"):
            raise InputError(f"expected to draw pairs from a training split, found {self.train}; correct data.train")
        self.table: dict[str, list[str]] | None = None  # captions of the training clips, where not their own

    def setup(self, stage: str) -> None:
        """Read the indexes, the list of ids and the table of captions."""
        super().setup(stage)
        if stage == "fit":
            divide_global_batch(self)
        if stage == "fit" and self.ids is not None:
            self.shards["train"] = kept_shards(self.shards["train"], Path(self.ids), self.skip_broken)
        if stage == "fit" and self.captions is not None:
            path = Path(self.captions)
            table = read_captions(path, f"make it: {command_that_makes(path.parent)}")
            self.table = by_clip(table, self.shards["train"], path, self.skip_broken)
        if stage == "fit" and (self.ids or self.captions):
            self._require_same([index_digest(self.shards["train"]), sorted(self.table or ())])

    def _require_same(self, clips: list[Any]) -> None:
        """Compare with what the first rank trains on: ranks with other numbers of steps would wait for one another.

        Raises:
            InputError: they differ, as where a node lacks a shard that `skip_broken` leaves out.
        """
        if self.trainer is not None and self.trainer.strategy.broadcast(clips) != clips:
            raise InputError(
                f"expected the same clips of {self.train} on all devices, found others on this one; copy the split to "
                "every node, or have all read the same files"
            )

    @cached_property
    def few_clips(self) -> list[Clip] | None:
        """The clips of num_pairs or pairs, decoded; None where fit reads the whole split."""
        shards, clip_format = self.shards["train"], self.clip_format("fit")
        if self.pairs is not None:
            return listed_clips(shards, clip_format, Path(self.pairs), self.skip_broken)
        if self.num_pairs is not None:
            return drawn_clips(shards, clip_format, self.num_pairs, self.seed, self.skip_broken)
        return None

    def training_texts(self) -> list[str]:
        """The first caption of each clip of the pairs, of the table, or of the first clips of the split."""
        if self.few_clips is not None:
            groups = [clip.captions for clip in self.few_clips]
        elif self.table is not None:
            groups = list(self.table.values())
        else:
            first = islice(records(self.shards["train"], self.skip_broken), FIRST_CLIPS)
            groups = [record["captions"] for record in first]
        return [group[0] for group in groups if group]

    def sources(self, part: str) -> tuple[str, str]:
        """Of training the number of its few clips, and the table of captions where these are not the clips' own."""
        clips, captions = super().sources(part)
        if part == "train":
            clips += f" ({len(self.few_clips)} clips)" if self.few_clips is not None else ""
            captions = self.captions or self.pairs or clips
        return clips, captions

    def train_dataloader(self) -> TrainLoader | FewShotLoader:
        """From the batch that the trainer has come to."""
        trainer, shards = trainer_of(self), self.shards["train"]
        share_cores(trainer)
        order = BatchOrder.of(trainer, self.seed)
        if self.few_clips is not None:
            self._require_same([clip.clip_id for clip in self.few_clips])
            return FewShotLoader(self.few_clips, self.batch_size, order)
        return TrainLoader(
            shards, self.clip_format("fit"), self.batch_size, order, num_workers=self.num_workers,
            window=self.shuffle_window, skip_broken=self.skip_broken, captions=self.table,
        )  # fmt: skip

    def val_dataloader(self) -> EvalLoader | list[Any]:
        """Nothing where fit has no val split."""
        return self.clips("val", "validate") if "val" in self.shards else []

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of the clips; the position in it is the trainer's own count of batches."""
        if "train" not in self.shards:
            return {}
        return {
            "train": self.train,
            "train_index": index_digest(self.shards["train"]),
            "seed": self.seed,
            GLOBAL_BATCH: global_batch(self),
            "shuffle_window": self.shuffle_window,
            "num_pairs": self.num_pairs,
            "pairs": self.pairs,
            "captions": self.captions,
            "ids": self.ids,
        }


def share_cores(trainer: L.Trainer) -> None:
    """On a CPU, give each device its share of the cores; the reading processes, mostly idle, take theirs from it."""
    if trainer.strategy.root_device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // trainer.world_size))
