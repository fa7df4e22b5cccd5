"""Clips that were captioned and lack what an explanation reads: one sentence, and no warning for each."""

import json
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks.explanations import write_explanations
from datamodules.clips import CaptionRows, ClipBatch, ClipFormat, Explanation, Reason, TransportPlan

IDS = ["a", "b", "c"]
ROWS = CaptionRows(clip_ids=IDS, captions=["x", "y", "z"], references=[["x"]] * 3, labels=[[]] * 3)


class Stage:
    """Explains every clip by its caption; a filler batch is not explained.

    Args:
        without: whether it has something to say of clips without images.
    """

    def __init__(self, without: bool = False) -> None:
        self.without = without

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat(image_size=8 if stage == "explain" else None)

    def explain(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        assert batch.valid
        if batch.images is None:
            reason = Reason("candidates", [("x", 1.0)])
            return [Explanation(reasons=[reason]) if self.without else Explanation() for _ in captions]
        plan = TransportPlan(audio_grid=(1, 1), seconds=1, hz=(0, 1), image_grid=(1, 1), padded=False, masses=[])
        return [Explanation(transport=plan) for _ in captions]


class Data:
    """Has the images of these clips, and of the others as little as a loader of evaluation."""

    def __init__(self, has: list[str]) -> None:
        self.has = has

    def test_clips(self, clip_ids: Collection[str], clip_format: ClipFormat) -> Iterator[ClipBatch]:
        has = self.has if clip_format.image_size else IDS
        for number, _ in enumerate(set(clip_ids) - set(has)):
            warnings.warn(f"left out a broken clip ({number + 1} so far): expected images", stacklevel=2)
        ids: list[str]
        for ids in ([clip_id for clip_id in has if clip_id in clip_ids], []):
            images = torch.zeros(len(ids), 3, 8, 8) if clip_format.image_size else None
            yield ClipBatch(ids, None, None, images, [[]] * len(ids), [[]] * len(ids))


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


def test_clips_without_images_are_explained_by_what_they_have(tmp_path: Path) -> None:
    """As the candidates of CLAP-Refine, which need no image."""
    strategy = SimpleNamespace(batch_to_device=lambda batch: batch)
    trainer: Any = SimpleNamespace(datamodule=Data([]), default_root_dir=tmp_path, strategy=strategy)
    stage: Any = Stage(without=True)
    assert write_explanations(trainer, stage, ROWS, [1.0, 2.0, 3.0], 60) is None
    found = json.loads((tmp_path / "explanations.json").read_text())
    assert sorted(found) == IDS and found["a"]["reasons"] == [["candidates", [["x", 1.0]]]]
