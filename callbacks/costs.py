"""What a command costs and is shown: seconds of training and of a caption, parameters, and what it read of which split.

`reports compare --costs` sets systems beside one another by it. All of it is measured by the run, none is declared.
"""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import lightning as L
import torch
from torch import nn

from callbacks.rank_sums import sum_of_ranks
from datamodules.clips import ClipBatch
from datamodules.contracts import AligningStage, HoldsFrozen, ReadingNoted

COSTS = "costs"  # the key in an export's provenance.json and in a test's `made_by`
Read = dict[str, list[str]]  # media by split or file


class Noted(TypedDict, total=False):
    """What is noted of a fit, a prediction or a test.

    Attributes:
        seconds: CPU seconds of all processes, or seconds of all GPUs: of a fit from its first step to its end, with its
            validations; of captioning in the steps alone.
        unit: "CPU" or "GPU".
        captions: how many captions took these seconds, of a prediction that was killed those of its last run; not of a
            fit.
        trained: parameters that the fit trained.
        handed_on: those of them that are not the criterion's, which captions nothing.
        parameters: all that were loaded, without the criterion's.
        read: of each split or file, some of "sounds", "pictures", "captions" and "sentences".
    """

    seconds: float
    unit: str
    captions: int
    trained: int
    handed_on: int
    parameters: int
    read: Read


class Costs(L.Callback):
    """Measure fit, predict and test.

    A fit counts from its first step to its end; loading networks, and embedding a corpus before the first step, which a
    cache may spare, do not count. A fit that was killed and goes on counts the steps that led to its weights, as they
    stand in its checkpoint. Processes that read clips count on a CPU once they have ended.
    """

    def __init__(self) -> None:
        self.before, self.since = 0.0, 0.0  # seconds until the checkpoint that fit went on from; when counting began
        self.captions, self.caption_seconds = 0, 0.0
        self.read: Read = {}  # until that checkpoint
        self.noted: Noted = {}
        self.trainer: L.Trainer | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Know the device."""
        self.trainer = trainer

    def _now(self) -> float:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            return time.monotonic()
        found = os.times()
        return found.user + found.system + found.children_user + found.children_system

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self.since = self._now()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the fit."""
        seconds = sum_of_ranks(trainer, self.before + self._now() - self.since)
        trained = {id(p): p.numel() for p in pl_module.parameters() if p.requires_grad}
        self.noted = {
            "seconds": round(seconds, 3),
            "unit": unit_of(trainer),
            "trained": sum(trained.values()),
            "handed_on": sum(trained[key] for key in trained.keys() - criterion_of(pl_module)),
            "parameters": count(pl_module),
            "read": self._all_read(trainer),
        }

    def _begin(self, *args: Any, **kwargs: Any) -> None:
        self.since = self._now()

    on_test_batch_start = on_predict_batch_start = _begin

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count, after all networks are loaded."""
        self.captions, self.caption_seconds = 0, 0.0

    on_predict_start = on_test_start

    def _captioned(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *args: Any, **kw: Any) -> None:
        self.captions += len(batch.clip_ids) if isinstance(batch, ClipBatch) else 0
        self.caption_seconds += self._now() - self.since

    on_test_batch_end = on_predict_batch_end = _captioned

    def _note_captions(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.noted = {
            "seconds": round(sum_of_ranks(trainer, self.caption_seconds), 3),
            "unit": unit_of(trainer),
            "captions": round(sum_of_ranks(trainer, self.captions)),
            "parameters": count(pl_module),
            "read": self._all_read(trainer),
        }

    on_test_epoch_end = on_predict_epoch_end = _note_captions

    def _all_read(self, trainer: L.Trainer) -> Read:
        data = vars(trainer).get("datamodule")
        return joined(self.read, data.media_read() if isinstance(data, ReadingNoted) else {})

    def state_dict(self) -> dict[str, Any]:
        """Of this rank, as the checkpoint is its first one's."""
        if self.trainer is None or self.trainer.state.fn != "fit":
            return {}
        return {"seconds": self.before + self._now() - self.since, "read": self._all_read(self.trainer)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.before, self.read = state_dict.get("seconds", 0.0), state_dict.get("read", {})


def costs_of(trainer: L.Trainer) -> dict[str, Noted]:
    """What was noted of the command, to be added to a note on its results; nothing where it is not measured."""
    found = [each.noted for each in vars(trainer)["callbacks"] if isinstance(each, Costs) and each.noted]
    return {COSTS: found[0]} if found else {}


def joined(*reads: Mapping[str, list[str]]) -> Read:
    """All of what several read, by split."""
    found: dict[str, set[str]] = {}
    for split, media in (item for read in reads for item in read.items()):
        found.setdefault(split, set()).update(media)
    return {split: sorted(found[split]) for split in sorted(found)}


def unit_of(trainer: L.Trainer) -> str:
    """What seconds are counted of."""
    return "GPU" if trainer.strategy.root_device.type == "cuda" else "CPU"


def criterion_of(stage: L.LightningModule) -> set[int]:
    """The ids of the parameters of a stage's criterion, where it has one with some."""
    criterion = stage.criterion if isinstance(stage, AligningStage) else None
    return {id(weight) for weight in criterion.parameters()} if isinstance(criterion, nn.Module) else set()


def count(stage: L.LightningModule) -> int:
    """All parameters that are loaded, each once, frozen networks too, without the criterion's."""
    found = {id(weight): weight.numel() for module in whole(stage) for weight in module.parameters(recurse=False)}
    return sum(found[key] for key in found.keys() - criterion_of(stage))


def whole(module: nn.Module) -> Iterator[nn.Module]:
    """A module, its submodules, and the networks that they hold frozen."""
    for each in module.modules():
        yield each
        if isinstance(each, HoldsFrozen):
            holder: HoldsFrozen = each
            yield from whole(holder.network)
