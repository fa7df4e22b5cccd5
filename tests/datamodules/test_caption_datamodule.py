"""Captions to train on and clips to test on, inside a real Trainer; what a predict run leaves out."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from datamodules.caption_datamodule import CaptionDataModule
from datamodules.clip_datamodule import ClipDataModule
from datamodules.clips import CaptionBatch, ClipBatch, ClipFormat
from datamodules.contracts import CaptionSource, PredictSource, datamodule_of, expect
from earshot.errors import InputError

CLOTHO = "file_name,caption_1,caption_2\n Ambience Birds.wav,birds sing,a wind blows\nb.1.wav,rain falls,\n"
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Trying to infer the `batch")


class Notes(L.LightningModule):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.captions: list[tuple[int, str]] = []
        self.clips: list[str] = []

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat(sampling_rate=1000)

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> torch.Tensor:
        self.captions += zip(batch.rows.tolist(), batch.captions)
        return self.layer(torch.ones(1, 1)).mean()

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.clips += batch.clip_ids

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trainer(**options: Any) -> L.Trainer:
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    return L.Trainer(**dict.fromkeys(off, False), accelerator="cpu", devices=1, max_epochs=1, **options)


@pytest.fixture
def root(uneven: tuple[Path, list[str]]) -> Path:
    folder: Path = uneven[0].parents[1]
    (folder / "clotho.csv").write_text(CLOTHO)
    return folder


def test_fit_on_a_table_and_its_rows_are_the_captions_numbers(root: Path, tmp_path: Path) -> None:
    data, stage, run = CaptionDataModule(str(root), train="clotho.csv", batch_size=1), Notes(), trainer()
    run.fit(stage, data)
    found = datamodule_of(run, CaptionSource).captions_of("clotho.csv")
    assert found.texts == ["birds sing", "a wind blows", "rain falls"]
    assert found.clip_ids == [" Ambience Birds", " Ambience Birds", "b.1"]
    assert sorted(stage.captions) == list(enumerate(found.texts))
    run.save_checkpoint(tmp_path / "last.ckpt")
    (root / "clotho.csv").write_text(CLOTHO.replace("rain", "snow"))
    with pytest.raises(InputError, match="expected digest of train_captions .* as in the checkpoint"):
        trainer().fit(
            Notes(), CaptionDataModule(str(root), train="clotho.csv", batch_size=1), ckpt_path=tmp_path / "last.ckpt",
            weights_only=True,
        )  # fmt: skip


@pytest.mark.parametrize("kind", [CaptionDataModule, ClipDataModule])
def test_predict_leaves_out_what_is_done(kind: type, root: Path, uneven: tuple[Path, list[str]]) -> None:
    data, stage = kind(str(root), predict="corpus/uneven", num_workers=0, eval_batch_size=9), Notes()
    source = expect(PredictSource, data, "the datamodule")
    source.leave_out(["clip.3", "clip.77"])
    trainer().predict(stage, data)
    assert stage.clips == [clip_id for clip_id in uneven[1] if clip_id not in ("clip.3", "clip.77")]
    assert source.num_predict_clips() == 78 and len(source.predict_digest()) == 16


def test_a_stage_that_reads_no_clips_is_told(root: Path) -> None:
    data = ClipDataModule(str(root), predict="corpus/uneven", num_workers=0)

    class Other(L.LightningModule):
        def predict_step(self, batch: ClipBatch, batch_idx: int) -> None:
            pytest.fail("a clip was read")

    with pytest.raises(InputError, match="expected a stage that reads clips as the stage, found Other;"):
        trainer().predict(Other(), data)
