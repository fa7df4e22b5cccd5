"""Clips of packed splits for Lightning: asks the stage what it wants of each and reads no more than that."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn

from datamodules.caption_table import read_caption_table
from datamodules.clip_loader import EvalLoader, TrainLoader
from datamodules.clips import ClipFormat
from datamodules.few_shot import FewShotLoader, drawn_clips, listed_clips
from datamodules.shards import Shard, index_digest, read_index
from earshot.errors import InputError, command_that_makes

SPLITS_OF = {  # what each command reads; it cannot do without the first
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
}


class ClipDataModule(L.LightningDataModule):
    """Streams `ClipBatch`es to a stage whose `clip_format(stage)` returns what it wants of each clip.

    `stage` is "fit" for the training clips, "validate" for the validation clips (in fit too), "test" or
    "predict".
    A checkpoint resumes at the very next batch; one of other settings is refused.

    Args:
        root: folder of the splits.
        train: split to train on, as corpus/split; likewise val, test and predict. None where not used.
        batch_size: clips of a training batch on each device.
        eval_batch_size: of a batch in validation, test and predict.
        num_workers: processes that read, on each device; 0 reads in the main process.
        seed: of the order of the clips and the choice of their frames; None takes that of seed_everything.
        shuffle_window: clips are shuffled by shard, and among so many neighbours, which each worker holds
            undecoded.
        skip_broken: in training, put another clip in the place of one that cannot be decoded, with a warning.
        num_pairs: train on so many clips alone, drawn by the seed; their picture is always the middle frame.
        pairs: train on the clips alone that this CSV lists in a column clip_id, id or youtube_id.
        captions: CSV of clip_id and caption, as `predict` writes it, whose captions the training clips get instead
            of their own.
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
        seed: int | None = None,
        shuffle_window: int = 512,
        skip_broken: bool = False,
        num_pairs: int | None = None,
        pairs: str | None = None,
        captions: str | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.train = train
        self.val = val
        self.test = test
        self.predict = predict
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.shuffle_window = shuffle_window
        self.skip_broken = skip_broken
        self.num_pairs = num_pairs
        self.pairs = pairs
        self.captions = captions
        self.skip: frozenset[str] = frozenset()  # ids that predict leaves out, as they are done
        for name, least in (
            ("batch_size", 1), ("eval_batch_size", 1), ("num_workers", 0), ("seed", 0), ("shuffle_window", 1)
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise InputError(f"expected {name} of at least {least}, found {getattr(self, name)}; correct it")
        if num_pairs is not None and pairs is not None:
            raise InputError(f"expected num_pairs or pairs, found {num_pairs} and {pairs!r}; set one of them to null")
        if self.few_shot and train is not None and train.rpartition("/")[2] in ("val", "test"):
            raise InputError(f"expected to draw pairs from a training split, found {train}; correct data.train")
        self.shards: dict[str, list[Shard]] = {}  # of each split in use
        self.table: dict[str, str | None] | None = None  # captions of the training clips, where not their own

    @property
    def few_shot(self) -> bool:
        """Whether fit takes a few clips of its split."""
        return self.num_pairs is not None or self.pairs is not None

    def setup(self, stage: str) -> None:
        """Read the indexes, before the stage loads its networks: a wrong path is told at once."""
        stage = str(getattr(stage, "value", stage))  # Lightning gives its own enumeration
        needed = SPLITS_OF[stage][0]
        for name in SPLITS_OF[stage]:
            split = getattr(self, name)
            if split is not None:
                self.shards[name] = read_index(Path(self.root) / split)
            elif name == needed:
                raise InputError(f"expected a {name} split, found none; set data.init_args.{name} to corpus/split")
        if stage == "fit" and self.captions is not None:
            remedy = f"make it: {command_that_makes(Path(self.captions).parent)}"
            self.table = read_caption_table(Path(self.captions), remedy)

    def _share_cores(self) -> None:
        """On a CPU, leave a core to each reading process: threads that wait for one another slow a step sixfold."""
        if self._trainer.strategy.root_device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            torch.set_num_threads(max(1, cores // self._trainer.world_size - self.num_workers))

    def train_dataloader(self) -> TrainLoader | FewShotLoader:
        """From the batch that the trainer has come to."""
        self._share_cores()
        if self.few_shot:
            return self._few_shot_loader()
        return TrainLoader(
            self.shards["train"],
            self._clip_format("fit"),
            self.batch_size,
            rank=self._trainer.global_rank,
            world=self._trainer.world_size,
            num_workers=self.num_workers,
            seed=self.seed,
            window=self.shuffle_window,
            skip_broken=self.skip_broken,
            captions=self.table,
            position=self._position,
        )

    def _few_shot_loader(self) -> FewShotLoader:
        shards, wanted = self.shards["train"], self._clip_format("fit")
        return FewShotLoader(
            listed_clips(shards, wanted, Path(self.pairs))
            if self.pairs is not None
            else drawn_clips(shards, wanted, self.num_pairs or 0, self.seed),
            self.batch_size,
            rank=self._trainer.global_rank,
            world=self._trainer.world_size,
            seed=self.seed,
            position=self._position,
        )

    def val_dataloader(self) -> EvalLoader | list:
        """Nothing where fit has no val split."""
        return self._eval_loader("val", "validate") if "val" in self.shards else []

    def test_dataloader(self) -> EvalLoader:
        """The test split."""
        return self._eval_loader("test", "test")

    def predict_dataloader(self) -> EvalLoader:
        """The predict split, but for the clips in `skip`."""
        return self._eval_loader("predict", "predict", self.skip)

    def num_predict_clips(self) -> int:
        """See `datamodules.contracts.PredictSource`."""
        return sum(shard.num_samples for shard in self.shards["predict"])

    def predict_digest(self) -> str:
        """See `datamodules.contracts.PredictSource`."""
        return index_digest(self.shards["predict"])

    def leave_out(self, clip_ids: Collection[str]) -> None:
        """See `datamodules.contracts.PredictSource`."""
        self.skip = frozenset(clip_ids)

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of the clips; the position in it is the trainer's own count of batches."""
        if "train" not in self.shards:
            return {}
        return {
            "train": self.train,
            "train_index": index_digest(self.shards["train"]),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "num_workers": max(1, self.num_workers),
            "shuffle_window": self.shuffle_window,
            "num_pairs": self.num_pairs,
            "pairs": self.pairs,
            "captions": self.captions,
            "devices": self._trainer.world_size,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that fit goes on with the settings it began with; other commands may change them.

        Raises:
            InputError: a setting differs.
        """
        if self._trainer.state.fn != TrainerFn.FITTING:
            return
        for name, found in self.state_dict().items():
            if found != state_dict.get(name):
                raise InputError(
                    f"expected {name} {state_dict.get(name)} as in the checkpoint, found {found}; resume with "
                    "the settings that the run began with, or begin a new run"
                )

    def _eval_loader(self, name: str, stage: str, skip: frozenset[str] = frozenset()) -> EvalLoader:
        return EvalLoader(
            self.shards[name],
            self._clip_format(stage),
            self.eval_batch_size,
            rank=self._trainer.global_rank,
            world=self._trainer.world_size,
            num_workers=self.num_workers,
            skip=skip,
        )

    @property
    def _trainer(self) -> L.Trainer:
        assert self.trainer is not None, "ClipDataModule works inside a Trainer"
        return self.trainer

    def _position(self) -> int:
        """Training batches done, as the trainer counts them, in its checkpoints too."""
        if self._trainer.overfit_batches:  # type: ignore[attr-defined]
            return 0  # the same batches again every epoch
        return self._trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]

    def _clip_format(self, stage: str) -> ClipFormat:
        clip_format = self._trainer.lightning_module.clip_format(stage)  # type: ignore[operator]
        assert isinstance(clip_format, ClipFormat)
        return clip_format
