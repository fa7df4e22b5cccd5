"""Text-audio similarity: of hand-made embeddings, and of the miniature's CLAP through the real command."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from conftest import MINIATURE, REPOSITORY, arguments
from torch import Tensor

from datamodules.clip_loader import EvalLoader
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.shards import read_index
from evaluation.captions_file import read_captions
from evaluation.scores import score_rows
from evaluation.text_audio import text_audio_similarity
from lightning_modules.networks.clap.encoder import ClapEncoder
from train import main

CLAP = REPOSITORY / "configs" / "metrics" / "clap_similarity.yaml"


class Angles:
    """Audio of one sample at its angle in degrees, texts that are angles."""

    sampling_rate, max_seconds = 8000, None

    def embed_audio(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        return self.embed_text([str(int(angle)) for angle in waveforms[:, 0]])

    def embed_text(self, texts: list[str]) -> Tensor:
        angles = torch.deg2rad(torch.tensor([float(text) for text in texts]))
        return torch.stack([angles.cos(), angles.sin()], dim=-1)


def batches(*angles: dict[str, int]) -> Iterator[ClipBatch]:
    for group in angles:
        waveforms = torch.tensor(list(group.values()), dtype=torch.int16)[:, None]
        empty: list[list[str]] = [[] for _ in group]
        yield ClipBatch(list(group), waveforms, torch.ones(len(group), dtype=torch.long), None, empty, empty)


def test_it_is_the_cosine_of_each_clips_own_caption() -> None:
    captions = {"a": "60", "b": "120", "d": "0"}
    found = text_audio_similarity(Angles(), batches({"b": 30, "c": 0}, {"a": 60}), captions, torch.device("cpu"))
    assert found == pytest.approx({"a": 1, "b": 0}, abs=1e-6)


def test_the_mean_is_over_clips_with_audio(tmp_path: Path) -> None:
    rows = {"clip_ids": ["a", "b", "c"], "captions": ["x", "y", "z"], "references": [["x"]] * 3, "labels": [[]] * 3}
    scores = score_rows(rows, tmp_path, java=False, similarity=lambda captions: {"a": 0.25, "c": 0.75})  # type: ignore[arg-type]
    assert scores.values["clap_sim"] == 0.5
    assert scores.per_clip["clap_sim"] == {"a": 0.25, "c": 0.75}
    low, high = scores.intervals["clap_sim"]
    assert low == 0.25 and high == 0.75


def expected(world_root: Path, run: Path) -> dict[str, float]:
    """The cosines by CLAP itself, clip by clip."""
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    rows = read_captions(run)
    captions = dict(zip(rows["clip_ids"], rows["captions"]))
    found = {}
    loader = EvalLoader(read_index(world_root / "first-40/audiocaps/test"), ClipFormat(clap.sampling_rate), 1)
    for batch in loader:
        if batch.clip_ids[0] in captions:
            clip_id = batch.clip_ids[0]
            with torch.no_grad():
                audio = clap.embed_audio(batch.waveforms, batch.num_samples)
                found[clip_id] = float(audio[0] @ clap.embed_text([captions[clip_id]])[0])
    return found


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_of_another_encoder_is_judged_by_clap(devices: int, in_tmp_path: Path, world_root: Path) -> None:
    """DALI reads 16 kHz, CLAP its own rate; two ranks give what one does; a limit leaves clips out."""
    more = ["--config", str(CLAP), "--evaluation.submission", "true", "--export.load", "false"]
    more += [
        "--trainer.devices",
        str(devices),
        "--data.eval_batch_size",
        "10",
        "--trainer.limit_test_batches",
        str(2 // devices),
    ]
    more += ["--trainer.strategy", "ddp_spawn" if devices > 1 else "auto"]
    main(["test", *arguments(world_root, *more)])
    run = Path("runs/dali_ot/test-1")
    cosines = expected(world_root, run)
    assert len(cosines) == 20
    with open(run / "scores.csv", newline="") as file:
        found = {line["clip_id"]: float(line["clap_sim"]) for line in csv.DictReader(file)}
    assert found == pytest.approx(cosines, abs=1e-5)
    scores = json.loads((run / "scores.json").read_text())
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    digests = " ".join(clap.fingerprint(part)[:16] for part in ("text", "audio"))
    assert scores["models"] == {"clap_sim": f"ClapEncoder {digests}"}
    assert scores["clap_sim"] == pytest.approx(np.mean(list(cosines.values())), abs=1e-5)
    assert scores["intervals"]["clap_sim"][0] < scores["clap_sim"] < scores["intervals"]["clap_sim"][1]
    with open(run / "submission.csv", newline="") as file:
        assert next(csv.reader(file)) == ["file_name", "caption_predicted"]
    with open(run / "metrics.csv", newline="") as file:
        assert float(list(csv.DictReader(file))[-1]["test/clap_sim"]) == pytest.approx(scores["clap_sim"])


def test_without_packed_splits_it_says_why(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from callbacks.caption_evaluation import CaptionEvaluation
    from evaluation.metric import NotComputed

    trainer = SimpleNamespace(datamodule=L.LightningDataModule())
    with pytest.raises(NotComputed, match="has no `test_audio`"):
        CaptionEvaluation(clap=Angles())._similarity(trainer, {"a": "0"})  # type: ignore[arg-type]
