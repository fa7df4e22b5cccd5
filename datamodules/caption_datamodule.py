"""Captions alone to train and validate on, audio to test on: what learning from text alone reads (WSAC)."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.batch_order import BatchOrder
from datamodules.caption_table import read_captions
from datamodules.clip_loader import EvalLoader
from datamodules.clips import CaptionBatch, Captions
from datamodules.kept_clips import shards_with
from datamodules.packed_splits import PackedSplits
from datamodules.places import place
from datamodules.settings import GLOBAL_BATCH, divide_global_batch, global_batch, trainer_of
from datamodules.shards import Shard, read_index, records
from datamodules.text_loader import TextLoader
from earshot.errors import InputError


def is_table(split: str) -> bool:
    """Whether a CSV is meant, and not a packed split."""
    return split.lower().endswith(".csv")


class CaptionDataModule(PackedSplits):
    """Streams `CaptionBatch`es to fit and validate, `ClipBatch`es to test and predict.

    `train` and `val` name packed splits, whose audio is not read, or CSV tables of captions
    (`datamodules.caption_table`), which need no audio at all. A stage may ask for all captions (`captions_of`) or all
    clips (`clips_of`) of a split by name.

    Args:
        root: folder of the splits and tables; a table may also be named from the working folder.
        arguments: of `PackedSplits`.
    """

    def __init__(self, root: str, **arguments: Any) -> None:
        super().__init__(root, **arguments)
        self.read: dict[str, Captions] = {}

    def captions_of(self, split: str) -> Captions:
        """All captions of a split or table, in order; their number is printed.

        Raises:
            InputError: no such split or table, or no caption in it.
        """
        self.note(split, "captions")
        if split not in self.read:
            if is_table(split):
                path = Path(self.root) / split
                table = read_captions(path if path.is_file() else Path(split))
            else:
                table = {record["id"]: record["captions"] for record in records(self._shards(split))}
            texts = [text for group in table.values() for text in group]
            if not texts:
                raise InputError(f"expected captions in {split}, found none of {len(table)} clips; name another split")
            self.read[split] = Captions(texts, [clip_id for clip_id, group in table.items() for _ in group])
            if trainer_of(self).is_global_zero:
                print(f"{split}: N = {len(texts)} captions of {len(table)} clips", flush=True)
        return self.read[split]

    def clips_of(self, split: str, clip_ids: Collection[str] | None = None) -> EvalLoader:
        """All clips of a packed split, or those of these ids, each on one of the ranks, as the stage's
        `clip_format("predict")` wants them."""
        self.note(split, "sounds")
        clip_format, shards = self.clip_format("predict"), self._shards(split)
        if clip_ids is not None:
            shards = shards_with(shards, clip_ids)
        order = BatchOrder.of(trainer_of(self))
        return EvalLoader(shards, clip_format, self.eval_batch_size, order, num_workers=self.num_workers)

    def audio_digest(self, split: str) -> str:
        """A digest of the ids and the audio of a packed split, by the CRC-32 in its records: no audio is read."""
        self.note(split, "sounds")  # whose embeddings may be in a cache
        digest = hashlib.sha256()
        for record in records(self._shards(split)):
            digest.update(f"{record['id']} {record['crc32']}\n".encode())
        return digest.hexdigest()

    def _shards(self, split: str) -> list[Shard]:
        if is_table(split):
            raise InputError(f"expected a packed split with sounds, found the table {split}; pack one, or do without")
        return read_index(place(self.root) / split)

    def setup(self, stage: str) -> None:
        """Read the captions, or the indexes of clips, before the stage loads its networks."""
        if stage in ("test", "predict"):
            super().setup(stage)
            return
        for split in self.wanted(stage).values():
            self.captions_of(split)
        if stage == "fit":
            divide_global_batch(self)
            self.train_dataloader()  # reports a batch larger than the split before anything is embedded

    def training_texts(self) -> list[str]:
        """All captions of the training split or table."""
        return [] if self.train is None else self.captions_of(self.train).texts

    def train_dataloader(self) -> TextLoader[CaptionBatch]:
        """From the batch that the trainer has come to."""
        assert self.train is not None
        return self._loader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> TextLoader[CaptionBatch] | list[Any]:
        """Nothing where fit has no val split."""
        return [] if self.val is None else self._loader(self.val, self.eval_batch_size, shuffle=False)

    def _loader(self, split: str, batch_size: int, shuffle: bool) -> TextLoader[CaptionBatch]:
        texts = self.captions_of(split).texts

        def batch(rows: np.ndarray) -> CaptionBatch:
            return CaptionBatch(rows, [texts[row] for row in rows])

        return TextLoader(len(texts), batch, batch_size, BatchOrder.of(trainer_of(self), self.seed), shuffle)

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of the captions."""
        if self.train is None:
            return {}
        captions = self.captions_of(self.train)
        return {
            "train": self.train,
            "train_captions": len(captions.texts),
            "digest of train_captions": captions.digest[:12],
            "seed": self.seed,
            GLOBAL_BATCH: global_batch(self),
        }
