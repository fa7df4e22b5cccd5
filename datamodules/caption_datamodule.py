"""Captions alone to train and validate on, sounds to test on: what learning from text alone reads (WSAC)."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn

from datamodules.caption_loader import CaptionLoader
from datamodules.clip_datamodule import SPLITS_OF, ClipDataModule
from datamodules.clip_loader import EvalLoader
from datamodules.clips import Captions
from datamodules.prepare.captions_table import read_captions
from datamodules.shards import Shard, read_index, read_samples
from earshot.errors import InputError


def is_table(split: str) -> bool:
    """Whether a CSV is meant, and not a packed split."""
    return split.lower().endswith(".csv")


class CaptionDataModule(ClipDataModule):
    """Streams `CaptionBatch`es to fit and validate, `ClipBatch`es to test and predict.

    `train` and `val` name packed splits, whose sounds are not read, or CSV tables of captions
    (`datamodules.prepare.captions_table`), that need not have sounds at all. A stage may ask for all captions
    (`captions_of`) or sounds (`sounds`) of a split by name.

    Args:
        arguments: of `ClipDataModule`.
    """

    def __init__(self, root: str, **arguments: Any) -> None:
        super().__init__(root, **arguments)
        self.read: dict[str, Captions] = {}

    def captions_of(self, split: str) -> Captions:
        """All captions of a split or table, in order; their number is printed.

        Raises:
            InputError: no such split or table, or no caption in it.
        """
        if split not in self.read:
            if is_table(split):
                path = Path(self.root) / split
                table = read_captions(path if path.is_file() else Path(split))
            else:
                table = {record["id"]: record["captions"] for record in self._records(split)}
            texts = [text for group in table.values() for text in group]
            if not texts:
                raise InputError(f"expected captions in {split}, found none of {len(table)} clips; name another split")
            self.read[split] = Captions(texts, [clip_id for clip_id, group in table.items() for _ in group])
            if self._trainer.is_global_zero:
                print(f"{split}: N = {len(texts)} captions of {len(table)} clips", flush=True)
        return self.read[split]

    def sounds(self, split: str) -> EvalLoader:
        """All clips of a packed split, every one on every rank, as the stage's `clip_format("predict")` wants them."""
        clip_format = self._clip_format("predict")
        return EvalLoader(self._packed(split), clip_format, self.eval_batch_size, num_workers=self.num_workers)

    def sounds_digest(self, split: str) -> str:
        """A digest of the ids and sounds of a packed split, of which no sound is read: their CRC-32 are known."""
        digest = hashlib.sha256()
        for record in self._records(split):
            digest.update(f"{record['id']} {record['crc32']}\n".encode())
        return digest.hexdigest()

    def _packed(self, split: str) -> list[Shard]:
        if is_table(split):
            raise InputError(f"expected a packed split with sounds, found the table {split}; pack one, or do without")
        return read_index(Path(self.root) / split)

    def _records(self, split: str) -> Iterator[dict[str, Any]]:
        for shard in self._packed(split):
            for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
                yield sample.record

    def setup(self, stage: str) -> None:
        """Read the captions, or the indexes of sounds, before the stage loads its networks."""
        stage = str(getattr(stage, "value", stage))
        if stage in ("test", "predict"):
            return super().setup(stage)
        for name in SPLITS_OF[stage]:
            if getattr(self, name) is not None:
                self.captions_of(getattr(self, name))
        if getattr(self, SPLITS_OF[stage][0]) is None:
            super().setup(stage)  # says what is missing
        if stage == "fit":
            self.train_dataloader()  # says that a batch is larger than the split, before anything is embedded

    def train_dataloader(self) -> CaptionLoader:  # type: ignore[override]
        """From the batch that the trainer has come to."""
        assert self.train is not None
        return CaptionLoader(
            self.captions_of(self.train).texts,
            self.batch_size,
            rank=self._trainer.global_rank,
            world=self._trainer.world_size,
            seed=self.seed,
            position=self._position,
        )

    def val_dataloader(self) -> CaptionLoader | list:  # type: ignore[override]
        """Nothing where fit has no val split."""
        if self.val is None:
            return []
        return CaptionLoader(
            self.captions_of(self.val).texts,
            self.eval_batch_size,
            rank=self._trainer.global_rank,
            world=self._trainer.world_size,
        )

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of the captions."""
        if self.train is None or self._trainer.state.fn != TrainerFn.FITTING:
            return {}
        return {
            "train": self.train,
            "train_captions": len(self.captions_of(self.train).texts),
            "digest of train_captions": self.captions_of(self.train).digest[:12],
            "seed": self.seed,
            "batch_size": self.batch_size,
            "devices": self._trainer.world_size,
        }
