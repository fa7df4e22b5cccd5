"""AudioSet's filter: distances against a plain version, the real command killed and resumed, its list trained on."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import MINIATURE, REPOSITORY, arguments
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from callbacks.predict_table import written as table_lines
from datamodules.clip_loader import EvalLoader
from datamodules.clips import ClipBatch
from datamodules.prepare.__main__ import main as prepare
from datamodules.shards import read_index, write_shards
from lightning_modules.audioset_filter import AudioSetFilter
from lightning_modules.networks.blip2 import Blip2Captioner
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.image_captioner import LlavaImageCaptioner
from tests.datamodules.made_clips import jpeg
from train import main

GREYS = {0: "a bell", 1: "a red bell on the grass", 2: "a dog and a cow", 3: ""}


class Greys(nn.Module):
    """Names an image by its brightness."""

    image_size = 8

    def load(self, dtype: torch.dtype | None = None) -> None:
        self.calls: list[int] = []

    def caption_images(self, images: Tensor) -> list[str]:
        self.calls.append(len(images))
        return [GREYS[round(value / 50)] for value in images.float().mean((1, 2, 3)).tolist()]

    def made_by(self) -> dict[str, Any]:
        return {"greys": len(GREYS)}


def stage(**settings: Any) -> AudioSetFilter:
    found = AudioSetFilter(Greys(), str(MINIATURE / "gpt2"), **settings)
    found.setup("predict")
    return found


def plain_distance(captions: list[str], labels: list[str], between: str) -> float:
    """The definition, one text at a time, in NumPy."""
    model = AutoModel.from_pretrained(MINIATURE / "gpt2").eval()
    tokenizer = AutoTokenizer.from_pretrained(MINIATURE / "gpt2")

    def embed(text: str) -> np.ndarray:
        ids = tokenizer(text)["input_ids"] or [tokenizer.eos_token_id]
        with torch.no_grad():
            return model(torch.tensor([ids])).last_hidden_state[0].double().mean(0).numpy()

    of_labels = embed(between.join(labels))
    apart = [1 - e @ of_labels / np.linalg.norm(e) / np.linalg.norm(of_labels) for e in map(embed, captions)]
    return float(np.mean(apart))


def read(split: Path, filter_stage: AudioSetFilter, size: int) -> list[ClipBatch]:
    return list(EvalLoader(read_index(split), filter_stage.clip_format("predict"), size))


CONTENT = {"a": ([0, 1, 2], ["bell"]), "b": ([2], ["dog", "cow"]), "c": ([], ["dog"]), "d": ([3, 0], ["bell", "drum"])}


@pytest.fixture()
def split(tmp_path: Path) -> Path:
    """Clips of three images, one, none and two; one has no labels."""
    clips = [
        (clip_id, {f"{number}.jpg": jpeg(50 * grey) for number, grey in enumerate(greys)}, {"labels": labels})
        for clip_id, (greys, labels) in {**CONTENT, "e": ([1], [])}.items()
    ]
    write_shards(tmp_path / "split", clips)
    return tmp_path / "split"


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("between", [", ", " and "])
def test_distances_are_those_of_the_definition_in_any_batches(split: Path, size: int, between: str) -> None:
    made = stage(between=between)
    batches = read(split, made, size)
    rows = {row.clip_id: row for batch in batches for row in made.predict_step(batch, 0)}
    assert list(rows) == ["a", "b", "c", "d", "e"]
    for clip_id, (greys, labels) in CONTENT.items():
        captions = [GREYS[grey] for grey in greys]
        assert rows[clip_id].captions == captions and rows[clip_id].labels == labels
        if captions:
            assert rows[clip_id].distance == pytest.approx(plain_distance(captions, labels, between), abs=2e-6)
    assert rows["c"].distance is None and rows["e"].distance is None and rows["e"].captions == [GREYS[1]]
    calls = made.captioner.network.calls  # type: ignore[attr-defined]
    assert sum(calls) == 7 and len(calls) <= len(batches)  # a call for all images of a batch


def test_labels_are_embedded_once(split: Path) -> None:
    made = stage()
    assert made.embed is not None
    texts: list[str] = []
    function = made.embed.function
    made.embed.function = lambda some: texts.extend(some) or function(some)  # type: ignore[func-returns-value]
    for batch in read(split, made, 2) * 2:
        made.predict_step(batch, 0)
    assert sorted(texts) == sorted({*GREYS.values(), "bell", "dog, cow", "dog", "bell, drum"})


def test_all_images_are_read_up_to_ten_and_a_filler_batch_gives_nothing(tmp_path: Path) -> None:
    media = {f"{number}.jpg": jpeg(20 * number) for number in range(12)}
    write_shards(tmp_path / "split", [("a", media, {}), ("b", {"3.jpg": jpeg(0)}, {})])
    (batch,) = read(tmp_path / "split", stage(), 2)
    assert batch.num_images is not None and batch.images is not None
    assert batch.num_images.tolist() == [10, 1] and batch.images.shape == (11, 3, 8, 8)
    means = batch.images.float().mean((1, 2, 3)).tolist()
    assert means == pytest.approx([*range(0, 200, 20), 0], abs=2)
    filler = ClipBatch([], None, None, batch.images[:1], [], [], torch.tensor([1]))
    assert stage().predict_step(filler, 0) == []


def test_frozen_networks_stay_out_of_training(split: Path) -> None:
    made = stage().train()
    assert made.embed is not None and not list(made.parameters()) and not made.state_dict()
    network = made.embed.function
    assert isinstance(network, nn.Module) and not any(part.training for part in network.modules())


def test_whatever_decides_a_distance_is_said(tmp_path: Path) -> None:
    def said(captioner: Any = None, *settings: str) -> str:
        return json.dumps(AudioSetFilter(captioner or Greys(), *settings).captions_made_by(), sort_keys=True)

    llava = str(MINIATURE / "llava")
    found = [
        said(), said(None, "gpt2-medium"), said(None, str(MINIATURE / "gpt2")), said(None, "gpt2", " "),
        said(LlavaImageCaptioner(llava)), said(LlavaImageCaptioner(llava, "Name the things .")),
        said(LlavaImageCaptioner(llava, max_new_tokens=5)), said(Blip2Captioner()), said(Blip2Captioner("other/blip2")),
    ]  # fmt: skip
    assert len(set(found)) == len(found) and said() == found[0]


def test_llava_captions_images_as_it_captions_clips(world_root: Path) -> None:
    llava, question = str(MINIATURE / "llava"), "Name the things ."
    captioner = LlavaImageCaptioner(llava, question)
    captioner.load()
    made = AudioSetFilter(captioner)
    (batch, *_) = EvalLoader(read_index(world_root / "first-40/audioset/train"), made.clip_format("predict"), 3)
    assert batch.images is not None and len(batch.images) == 30
    clips = LlavaCaptioner(llava, inputs="image", question=question)
    clips.load()
    one = ClipBatch(["x"] * 30, None, None, batch.images, [[]] * 30, [[]] * 30)
    assert captioner.caption_images(batch.images) == clips.caption(one)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_killed_in_the_middle_the_command_goes_on(world_root: Path, in_tmp_path: Path) -> None:
    slow = in_tmp_path / "slow.yaml"
    slow.write_text(yaml.safe_dump({"trainer": {"callbacks+": [{"class_path": "slow_callback.Slow"}]}}))
    command = ["predict", *arguments(world_root, "--data.eval_batch_size", "4", config="audioset_filter.yaml")]
    line = [sys.executable, str(REPOSITORY / "train.py"), *command, "--run_name", "killed", "--config", str(slow)]
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    parts = Path("exports/killed")
    with open("log", "w") as log:
        killed = subprocess.Popen(line, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 150
    written: dict[str, Any] = {}
    while len(written) < 8:
        assert killed.poll() is None and time.monotonic() < deadline, Path("log").read_text()
        time.sleep(0.05)
        written = {key: row for folder in parts.glob("parts-*") for key, row in table_lines(folder)}
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (folder,) = parts.glob("parts-*")
    written = dict(table_lines(folder))
    assert 8 <= len(written) < 40 and not (parts / "distances.csv").exists()

    main([*command, "--run_name", "killed"])
    assert dict(table_lines(folder)).items() >= written.items()
    assert sum(len(file.read_text().splitlines()) for file in folder.iterdir()) == 40
    main([*command, "--run_name", "whole"])
    resumed, whole = (table(Path("exports", name, "distances.csv")) for name in ("killed", "whole"))
    assert [row["clip_id"] for row in resumed] == [f"audioset-train-{number:06d}" for number in range(40)]
    for one, other in zip(resumed, whole, strict=True):
        assert float(one.pop("distance")) == pytest.approx(float(other.pop("distance")), abs=1e-5)
        assert one == other and len(json.loads(one["captions"])) == 10


def test_the_nearest_are_trained_on(world_root: Path, in_tmp_path: Path) -> None:
    predicted = arguments(world_root, config="audioset_filter.yaml")
    main(["predict", *predicted, "--data.eval_batch_size", "40"])
    distances = "exports/audioset_filter/distances.csv"
    prepare(["nearest", "--distances", distances, "--keep", "20", "--output", "ids.csv"])
    main(
        [
            "fit", *arguments(world_root, "--data.ids", "ids.csv", "--data.batch_size", "8"),
            "--trainer.max_epochs", "1", "--trainer.log_every_n_steps", "1",
        ]
    )  # fmt: skip
    steps = {row["step"] for row in table(Path("runs/dali_ot/fit-1/metrics.csv")) if row["train/loss"]}
    assert len(steps) == 20 // 8
