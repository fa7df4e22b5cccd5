"""The worked examples of docs/extending: what each computes, and each through the real command."""

import csv
import json
import math
from pathlib import Path

import ot
import pytest
import torch
from conftest import REPOSITORY

from docs.examples.best_of_samples import BestOfSamples
from docs.examples.distinct import distinct
from docs.examples.nearest_mean import NearestMean
from docs.examples.sliced_wasserstein import SlicedWasserstein
from evaluation.captions_file import read_captions
from lightning_modules.contracts import Criterion, InferenceStrategy
from lightning_modules.decoding.contracts import Guidance
from lightning_modules.strategies.nearest_neighbour import NearestNeighbour
from miniature import ensure_split
from train import main

EXAMPLES = REPOSITORY / "docs" / "examples"


@pytest.fixture(scope="module")
def captions_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("captions")
    for split in ("audiocaps/train", "audiocaps/val", "audiocaps/test"):
        ensure_split(root / "first-40", split, max_clips=40)
    return root


def command(name: str, root: Path, *configs: Path, more: tuple[str, ...] = ()) -> None:
    main([
        name, *(word for config in configs for word in ("--config", str(config))),
        "--data.root", str(root), "--data.max_clips", "40", "--data.num_workers", "0", "--trainer.accelerator", "cpu",
        *more,
    ])  # fmt: skip


def scores_of(run: str) -> dict[str, float]:
    return json.loads(Path(f"runs/{run}/test-1/scores.json").read_text())


# --8<-- [start:criterion]
def test_sliced_wasserstein_is_the_distance_in_one_dimension() -> None:
    """POT's exact solver on each slice; also with more points on one side than on the other."""
    criterion: Criterion = SlicedWasserstein(num_projections=5).eval()
    audio, image = torch.randn(3, 6, 4, requires_grad=True), torch.randn(3, 9, 4)
    loss, measures = criterion(audio, image)
    directions = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.norm(dim=0)
    exact = torch.tensor([
        [ot.emd2_1d((a @ v).detach().numpy(), (b @ v).numpy(), metric="sqeuclidean") for v in directions.T]
        for a, b in zip(audio, image)
    ])  # fmt: skip
    assert loss.item() == pytest.approx(exact.mean().item(), rel=1e-5)
    assert float(measures["largest_slice"]) == pytest.approx(exact.amax(1).mean().item(), rel=1e-5)
    loss.backward()
    assert audio.grad is not None and audio.grad.abs().sum() > 0


# --8<-- [end:criterion]


def test_sliced_wasserstein_trains(in_tmp_path: Path, world_root: Path) -> None:
    short = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.batch_size", "8")
    overlay = EXAMPLES / "sliced_wasserstein.yaml"
    assert len([line for line in overlay.read_text().splitlines() if not line.startswith("#")]) <= 6
    more = (*short, "--trainer.log_every_n_steps", "1")
    command("fit", world_root, REPOSITORY / "configs/dali_ot.yaml", overlay, more=more)
    with open("runs/dali_sliced_wasserstein/fit-1/metrics.csv") as file:
        logged = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert len(logged) == 2
    assert all(math.isfinite(float(row["train/largest_slice"])) for row in logged)
    assert Path("exports/dali_sliced_wasserstein/model.safetensors").exists()


def test_nearest_mean_of_one_is_nearest_neighbour_decoding() -> None:
    memory = torch.nn.functional.normalize(torch.randn(20, 8), dim=-1)
    audio = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    one: InferenceStrategy = NearestMean(1)
    known = NearestNeighbour()
    for strategy in (one, known):
        strategy.remember(memory)
    assert torch.allclose(one(audio), known(audio))
    all_of_them = NearestMean(20)
    all_of_them.remember(memory)
    assert torch.allclose(all_of_them(audio), torch.nn.functional.normalize(memory.mean(0), dim=0).expand(5, -1))


def test_strategies_and_metric(in_tmp_path: Path, captions_root: Path) -> None:
    """A decoder trained by one strategy, tested by another, with a metric of its own."""
    base, training = REPOSITORY / "configs/clap_prefix.yaml", EXAMPLES / "embedding_dropout.yaml"
    short = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.batch_size", "8")
    command("fit", captions_root, base, training, more=short)
    command("test", captions_root, base, training, EXAMPLES / "nearest_mean.yaml", EXAMPLES / "distinct.yaml")
    run = Path("runs/clap_prefix_embedding_dropout_nearest_mean/test-1")
    captions = read_captions(run)["captions"]
    assert len(captions) == 40
    with open(run / "metrics.csv") as file:
        logged = [float(row["test/distinct_2"]) for row in csv.DictReader(file) if row["test/distinct_2"]]
    assert logged == [pytest.approx(distinct(captions, 2), abs=1e-6)]


def test_distinct() -> None:
    assert distinct(["a dog barks", "A dog barks loudly"], 2) == pytest.approx(3 / 5)
    assert distinct(["dog"], 2) == 0


def test_best_of_samples(in_tmp_path: Path, world_root: Path) -> None:
    guidance: Guidance = BestOfSamples()
    assert not guidance.needs_classifier
    command(
        "test", world_root, REPOSITORY / "configs/guided.yaml", EXAMPLES / "best_of_samples.yaml",
        more=("--data.eval_batch_size", "7"),
    )  # fmt: skip
    captions = read_captions(Path("runs/best_of_samples/test-1"))["captions"]
    assert 1 < len(set(captions)) <= 64
    assert scores_of("best_of_samples")["recall"] > 0.3  # a guess: 0.15


def test_caption_retrieval(in_tmp_path: Path, captions_root: Path) -> None:
    command("test", captions_root, EXAMPLES / "caption_retrieval.yaml")
    assert scores_of("caption_retrieval")["recall"] > 0.5  # a guess: 0.15
    command("predict", captions_root, EXAMPLES / "caption_retrieval.yaml")
    assert len(read_captions(Path("runs/caption_retrieval/predict-1"))["captions"]) == 40
