"""Test and predict on packed splits, as the clip and the caption datamodule share it."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from datamodules.batch_order import BatchOrder
from datamodules.clip_loader import EvalLoader
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.contracts import CaptioningStage, ClipStage, expect
from datamodules.kept_clips import ids_by_shard, shards_with
from datamodules.media_clips import list_media, media_digest, other_kinds
from datamodules.media_loader import MediaLoader
from datamodules.places import place
from datamodules.settings import go_on_with, require_at_least, seed_or_default, trainer_of
from datamodules.shards import INDEX, Shard, index_digest, read_index, records
from earshot.errors import InputError

PARTS_OF = {  # the parts that each command reads; it cannot do without the first
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
}
PART_OF_STAGE = {"train": "train", "sanity_check": "val", "validate": "val", "predict": "predict"}  # Lightning's stages


class PackedSplits(L.LightningDataModule):
    """Names the splits of a command, opens packed ones, and gives each of their clips once.

    What a datamodule trains on it adds itself.

    Args:
        root: folder of the splits, or its URL (`datamodules.places`).
        train: split to train on, as corpus/split, or a table of captions where a datamodule reads these alone;
            likewise val, test and predict. None where not used.
        batch_size: clips, or captions, of a training batch on each device; beside global_batch_size the most.
        eval_batch_size: the same in validation, test and predict.
        num_workers: processes that read clips, on each device; 0 reads in the main process.
        skip_broken: go on at a clip that cannot be decoded, or a shard that is missing, and name it: in training others
            take its place, elsewhere it is left out. Shards of more than a tenth of the clips are not done without, and
            captions or embeddings of all of a split (`CaptionDataModule`) have to be of every clip.
        seed: of the order in training and of what it draws; None takes that of seed_everything.
        global_batch_size: clips, or captions, of an optimizer step, over all devices, however many there are
            (`datamodules.settings.divide_global_batch`); None takes batch_size on each.

    Attributes:
        shards: of each part that was opened.
    """

    def __init__(
        self,
        root: str,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        predict: str | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        num_workers: int = 1,
        skip_broken: bool = False,
        seed: int | None = None,
        global_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.train = train
        self.val = val
        self.test = test
        self.names = {"train": train, "val": val, "test": test, "predict": predict}
        self.batch_size = batch_size
        self.global_batch_size = global_batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.skip_broken = skip_broken
        self.seed = seed_or_default(seed)
        require_at_least(1, batch_size=batch_size, eval_batch_size=eval_batch_size)
        require_at_least(0, num_workers=num_workers, seed=self.seed)
        self.shards: dict[str, list[Shard]] = {}
        self.files: dict[str, Path] = {}  # of predict, where it reads media files
        self.done: frozenset[str] = frozenset()  # ids that predict leaves out
        self.handed: dict[str, set[str]] = {}  # media by split (`media_read`)

    def wanted(self, command: str) -> dict[str, str]:
        """The splits that a command reads, by their part.

        Raises:
            InputError: it cannot do without one that has no name.
        """
        parts = PARTS_OF[command]
        if self.names[parts[0]] is None:
            raise InputError(f"expected a {parts[0]} split, found none; set data.init_args.{parts[0]} to corpus/split")
        return {part: split for part in parts if (split := self.names[part]) is not None}

    def setup(self, stage: str) -> None:
        """Read the indexes, before the stage loads its networks, so that a wrong path is reported at once.

        Raises:
            InputError: no such split, or captions are to be tested on clips of which none has a reference.
        """
        for part, split in self.wanted(stage).items():
            if part == "predict" and Path(split).exists() and not (Path(self.root) / split / INDEX).exists():
                self.files, others = list_media([Path(split)])
                if others:
                    rank_zero_info(other_kinds(others))
            else:
                self.shards[part] = read_index(place(self.root) / split, self.skip_broken)
        captioned = stage == "test" and isinstance(trainer_of(self).lightning_module, CaptioningStage)
        if not captioned:
            return
        if not any(any(record["captions"]) for record in records(self.shards["test"], self.skip_broken)):  # ends at one
            raise InputError(
                f"expected reference captions in {self.names['test']}, found none for any clip; use `predict` for "
                "clips without references, or pack them with --captions"
            )

    def clip_format(self, command: str) -> ClipFormat:
        """What the stage wants of every clip."""
        return expect(ClipStage, trainer_of(self).lightning_module, "the stage").clip_format(command)

    def clips(self, part: str, command: str) -> EvalLoader:
        """Every clip of an opened split once, over all ranks."""
        return EvalLoader(
            self.shards[part], self.clip_format(command), self.eval_batch_size, BatchOrder.of(trainer_of(self)),
            num_workers=self.num_workers, skip_broken=self.skip_broken,
            skip=self.done if part == "predict" else frozenset(),
        )  # fmt: skip

    def media_read(self) -> dict[str, list[str]]:
        """See `datamodules.contracts.ReadingNoted`."""
        return {split: sorted(media) for split, media in self.handed.items()}

    def note(self, split: str, medium: str) -> None:
        """Note that a medium of a split is read."""
        self.handed.setdefault(split, set()).add(medium)

    def sources(self, part: str) -> tuple[str, str]:
        """What the clips of a part, and their captions, are called in the note."""
        return str(self.names[part]), str(self.names[part])

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Note what a batch has; that of test is what is measured, and no part of what was learnt from."""
        stage = trainer_of(self).state.stage
        part = None if stage is None else PART_OF_STAGE.get(stage.value)
        if part is not None and isinstance(batch, ClipBatch) and batch.valid:
            clips, captions = self.sources(part)
            for split, medium, has in (
                (clips, "sounds", batch.waveforms is not None),
                (clips, "pictures", batch.images is not None),
                (captions, "captions", any(batch.captions)),
            ):
                if has:
                    self.note(split, medium)
        return batch

    def test_dataloader(self) -> EvalLoader:
        """The test split."""
        self.tested = self.clips("test", "test")
        return self.tested

    def num_test_clips(self) -> int:
        """How many clips the index of the test split promises."""
        return sum(shard.num_samples for shard in self.shards["test"])

    def num_broken_test_clips(self) -> int:
        """How many of them this rank could not read."""
        return self.tested.num_broken

    def test_folder(self) -> Path:
        """The folder of the test split's shards."""
        return self.shards["test"][0].path.parent

    def test_clips(self, clip_ids: Collection[str], clip_format: ClipFormat) -> EvalLoader:
        """The test clips of these ids in a form of their own, on the rank that asks."""
        shards = self.shards["test"]
        return EvalLoader(
            shards_with(shards, clip_ids, ids_by_shard(shards, skip_missing=True)), clip_format, self.eval_batch_size,
            num_workers=self.num_workers, skip_broken=True,
        )  # fmt: skip

    def predict_dataloader(self) -> EvalLoader | MediaLoader:
        """The predict split, or the media files, without the clips left out."""
        if not self.files:
            self.predicted: EvalLoader | MediaLoader = self.clips("predict", "predict")
        else:
            todo = {name: path for name, path in self.files.items() if name not in self.done}
            self.predicted = MediaLoader(
                todo, self.clip_format("predict"), self.eval_batch_size, BatchOrder.of(trainer_of(self)),
                self.num_workers,
            )  # fmt: skip
        return self.predicted

    def num_predict_clips(self) -> int:
        """How many clips the predict split has, those left out among them."""
        return len(self.files) or sum(shard.num_samples for shard in self.shards["predict"])

    def num_broken_clips(self) -> int:
        """How many of them this rank could not read."""
        return self.predicted.num_broken

    def predict_digest(self) -> str:
        """A digest of the names and sizes of the predict split's shards, or of the files."""
        return media_digest(self.files) if self.files else index_digest(self.shards["predict"])

    def leave_out(self, clip_ids: Collection[str]) -> None:
        """Do not read these clips in predict."""
        self.done = frozenset(clip_ids)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that fit goes on with the settings it began with; other commands may change them."""
        go_on_with(self, state_dict)
