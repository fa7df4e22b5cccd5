"""What the figures of a test's clips and of a filter say, drawn in real loops."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from callbacks.clip_figures import FilterFigure, SpectrogramFigure, draw_distances, draw_spectrograms
from datamodules.clips import CaptionRows, ClipBatch, ClipFormat, LabelDistance

CAPTIONS = ["a $bell$ rings", "<b>rain</b> falls & stops", "hm"]


def words(path: Path) -> str:
    """All that is written in an SVG, a space for each end of a line."""
    return " ".join(" ".join(ElementTree.parse(path).getroot().itertext()).split())


def clips(ids: list[str], num_images: list[int]) -> ClipBatch:
    """Clips with a tone each and images of one grey each: 10, 20, ... in the batch's order."""
    tone = (8000 * np.sin(np.arange(4000) / 5)).astype(np.int16)
    total = sum(num_images)
    greys = torch.arange(10, 10 * total + 1, 10).clamp(max=250).to(torch.uint8)
    return ClipBatch(
        clip_ids=ids,
        waveforms=torch.from_numpy(tone).expand(len(ids), -1),
        num_samples=torch.full((len(ids),), 3000),
        images=greys[:, None, None, None].expand(-1, 3, 6, 6),
        captions=[["what is wanted"], [], []][: len(ids)],
        labels=[["bell"]] * len(ids),
        num_images=torch.tensor(num_images),
    )


class Stage(L.LightningModule):
    """Captions what it hears; measures what it sees. Distances are given by the clips' ids."""

    rate: int | None = 16000

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat(sampling_rate=self.rate)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        return batch.rows(CAPTIONS[: len(batch.clip_ids)])

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> list[LabelDistance]:
        rows, start = [], 0
        assert batch.num_images is not None
        for clip_id, number in zip(batch.clip_ids, batch.num_images.tolist()):
            seen = [f"image {start + place}" for place in range(number)]
            rows.append(LabelDistance(clip_id, float(clip_id) if number else None, ["bell", "rain"], seen))
            start += number
        return rows


def trainer(folder: Path, callback: L.Callback) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", default_root_dir=folder, callbacks=[callback], logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip


def loader(batches: list[ClipBatch]) -> DataLoader:
    return DataLoader(batches, batch_size=None, collate_fn=None)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "dali_ot" / "test-1"
    path.mkdir(parents=True)
    yield path


def test_spectrograms_stand_under_caption_and_reference(folder: Path) -> None:
    batches = [clips(["a", "b", "c"], [1, 1, 1]), clips(["d", "e"], [1, 1])]
    trainer(folder, SpectrogramFigure(num_clips=4)).test(Stage(), loader(batches), verbose=False)
    said = words(folder / "spectrograms.svg")
    assert "Captions of dali_ot, the first N = 4 test clips" in said
    assert said.count("a $bell$ rings (wanted: what is wanted)") == 2  # the first of both batches
    assert said.count("<b>rain</b> falls & stops") == 1 and said.count("hm") == 1
    assert said.count("time (s)") == 4 == said.count("frequency (kHz)")
    assert (folder / "spectrograms.png").stat().st_size > 10_000


def test_a_stage_that_hears_nothing_has_no_spectrogram(folder: Path) -> None:
    stage = Stage()
    stage.rate = None
    trainer(folder, SpectrogramFigure()).test(stage, loader([clips(["a"], [1])]), verbose=False)
    assert not list(folder.iterdir())


def test_a_long_caption_is_cut_and_a_short_sound_drawn(tmp_path: Path) -> None:
    draw_spectrograms(tmp_path / "x", "x", [(np.zeros(1, np.int16), 16000, "one sample")])
    assert "one sample" in words(tmp_path / "x.svg")


def test_the_filter_shows_frames_of_both_ends(folder: Path) -> None:
    """Of eight clips in two batches, the three nearest and the three farthest; the clip without images is left out."""
    batches = [clips(["0.5", "0.1", "0.9"], [1, 3, 2]), clips(["0.2", "0.8", "0.7", "0.3", "0.6"], [1, 1, 0, 1, 1])]
    figure = FilterFigure(kept=0.5)
    trainer(folder, figure).predict(Stage(), loader(batches), return_predictions=False)
    assert [clip.clip_id for clip in figure.nearest] == ["0.1", "0.2", "0.3"]
    assert [clip.clip_id for clip in figure.farthest] == ["0.9", "0.8", "0.6"]
    middle = figure.nearest[0]  # its images are the second, third and fourth of the batch
    assert middle.caption == "image 2" and (middle.frame == 30).all() and middle.labels == "bell, rain"
    said = words(folder / "distances.svg")
    assert "N = 7 clips, median 0.500" in said and "nearest 50%: up to 0.500" in said
    assert "kept: 0.100 seen: image 2 labels: bell, rain" in said and "left out: 0.900 seen: image 5" in said
    assert said.count("kept: ") == said.count("left out: ") == 3


@pytest.mark.parametrize("kept", [None, 0.25])
def test_few_distances_and_no_frames_are_drawn(tmp_path: Path, kept: float | None) -> None:
    draw_distances(tmp_path / "x", np.array([0.25, 0.75]), kept)
    said = words(tmp_path / "x.svg")
    assert "N = 2 clips, median 0.500" in said and ("nearest 25%" in said) == (kept is not None)


def test_other_predictions_draw_nothing(folder: Path) -> None:
    class Captions(Stage):
        def predict_step(self, batch: ClipBatch, batch_idx: int) -> Any:
            return self.test_step(batch, batch_idx)

    trainer(folder, FilterFigure()).predict(Captions(), loader([clips(["a"], [1])]), return_predictions=False)
    assert not list(folder.iterdir())
