"""Clips that were captioned and lack what an explanation reads: one sentence, and no warning for each."""

import json
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callbacks.explanations import write_explanations
from datamodules.clips import CaptionRows, ClipBatch, ClipFormat, Explanation, TransportPlan

IDS = ["a", "b", "c"]
ROWS = CaptionRows(clip_ids=IDS, captions=["x", "y", "z"], references=[["x"]] * 3, labels=[[]] * 3)


class Stage:
    """Explains every clip by its caption; a filler batch is not explained."""

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat()

    def explain(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        assert batch.valid
        plan = TransportPlan(audio_grid=(1, 1), seconds=1, hz=(0, 1), image_grid=(1, 1), padded=False, masses=[])
        return [Explanation(transport=plan) for _ in captions]


class Data:
    """Has these clips, and as little of the others as a loader of evaluation."""

    def __init__(self, has: list[str]) -> None:
        self.has = has

    def test_clips(self, clip_ids: Collection[str], clip_format: ClipFormat) -> Iterator[ClipBatch]:
        for number, _ in enumerate(set(clip_ids) - set(self.has)):
            warnings.warn(f"left out a broken clip ({number + 1} so far): expected images", stacklevel=2)
        ids: list[str]
        for ids in ([clip_id for clip_id in self.has if clip_id in clip_ids], []):
            yield ClipBatch(ids, None, None, None, [[]] * len(ids), [[]] * len(ids))


@pytest.mark.parametrize(
    ("has", "clips", "told", "says"),
    [(["a", "c"], 60, ["a", "c"], False), ([], 60, [], True), (IDS, 0, [], False)],
)
def test_what_lacks_is_said_once(
    has: list[str], clips: int, told: list[str], says: bool, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    strategy = SimpleNamespace(batch_to_device=lambda batch: batch)
    trainer: Any = SimpleNamespace(datamodule=Data(has), default_root_dir=tmp_path, strategy=strategy)
    stage: Any = Stage()
    said = write_explanations(trainer, stage, ROWS, [1.0, 2.0, 3.0], clips)
    assert not recwarn.list
    path = tmp_path / "explanations.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    assert sorted(found) == told and all("padded" in each["transport"] for each in found.values())
    assert (said or "").endswith("such as images") == says
