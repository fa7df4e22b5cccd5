"""The alignment stage through the real command, on a few clips of the miniature."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import MINIATURE, REPOSITORY, arguments
from tiny_encoder import TinyEncoder
from transformers import LlamaModel

from datamodules.clip_loader import EvalLoader
from datamodules.clips import ClipFormat
from datamodules.shards import read_index
from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.language_model import LlavaLanguageModel
from lightning_modules.token_alignment import TokenAlignment
from train import main


def module() -> TokenAlignment:
    encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae")
    return TokenAlignment(OptimalTransport(), LlavaCaptioner(str(MINIATURE / "llava"), encoder))


def test_fit_then_every_other_command(
    in_tmp_path: Path, world_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """fit exports; validate, test and predict start from the export; their files hold what they should."""
    short = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")
    with monkeypatch.context() as patch:  # fit must not so much as build a language model
        patch.setattr(LlamaModel, "__init__", lambda *_: pytest.fail("fit built a language model"))
        main(["fit", *arguments(world_root, *short)])
    checkpoint = torch.load("runs/dali_ot/fit-1/checkpoints/last.ckpt", weights_only=True)
    trained = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert trained == {"audio_encoder"}  # nothing frozen, and all that trains
    exported = CavMaeEncoder.from_pretrained("exports/dali_ot")
    before = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae")
    assert not torch.equal(exported.projection.weight, before.projection.weight)
    main(["validate", *arguments(world_root)])
    assert "the criterion untrained" not in capsys.readouterr().out  # which has no weights
    main(["test", *arguments(world_root)])
    with open("runs/dali_ot/test-1/captions.csv") as file:
        rows = list(csv.DictReader(file))
    assert len({row["clip_id"] for row in rows}) == 40
    assert all(len(json.loads(row["references"])) == 5 for row in rows)
    scores = json.loads(Path("runs/dali_ot/test-1/scores.json").read_text())
    by_clip = [float(row["cider_d"]) for row in rows]
    assert scores["cider_d"] == pytest.approx(sum(by_clip) / 40, abs=1e-5) and 0 < scores["cider_d"] < 10
    told = json.loads(Path("runs/dali_ot/test-1/explanations.json").read_text())
    assert told.keys() == {row["clip_id"] for row in rows}  # 40 are fewer than the report's 60
    for plan in (each["transport"] for each in told.values()):
        (high, wide), (rows_of_patches, columns) = plan["audio_grid"], plan["image_grid"]
        by_sound, by_patch = torch.zeros(high * wide), torch.zeros(rows_of_patches * columns)
        for audio, image, mass in plan["masses"]:
            by_sound[audio] += mass
            by_patch[image] += mass
        assert (high, wide, plan["seconds"]) == (8, 16, 2.56)
        assert by_sound.allclose(torch.full_like(by_sound, 1 / len(by_sound)), atol=1e-5)
        assert by_patch.allclose(torch.full_like(by_patch, 1 / len(by_patch)), atol=1e-5)
    assert "for the eye only" in Path("runs/dali_ot/test-1/report.html").read_text()
    main(["predict", *arguments(world_root)])
    with open("runs/dali_ot/predict-1/captions.csv") as file:
        assert {row["clip_id"] for row in csv.DictReader(file)} == {row["clip_id"] for row in rows}


def test_an_encoder_of_another_class(in_tmp_path: Path, world_root: Path) -> None:
    """Any class that keeps the contract is aligned, exported, and captions from its export."""
    tiny = ("--model.captioner.audio_encoder", "tiny_encoder.TinyEncoder", "--run_name", "tiny")
    short = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")
    main(["fit", *arguments(world_root, *tiny, *short)])
    trained = torch.load("runs/tiny/fit-1/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    exported = TinyEncoder.from_pretrained("exports/tiny")
    assert {f"audio_encoder.{name}" for name in exported.state_dict()} == set(trained)
    assert torch.equal(exported.linear.weight, trained["audio_encoder.linear.weight"])
    main(["test", *arguments(world_root, *tiny)])
    with open("runs/tiny/test-1/captions.csv") as file:
        found = {row["clip_id"]: row["caption"] for row in csv.DictReader(file)}
    language_model = LlavaLanguageModel.from_pretrained(MINIATURE / "llava", MINIATURE / "prefix")
    shards = read_index(world_root / "first-40/audiocaps/test")
    batch = next(iter(EvalLoader(shards, ClipFormat(8000, 2.0), 5)))
    with torch.no_grad():
        expected = language_model.generate(exported(exported.features(batch.waveforms, batch.num_samples)), None)
    assert len(found) == 40 and [found[clip_id] for clip_id in batch.clip_ids] == expected


def losses(folder: Path) -> dict[int, str]:
    """Training loss by step, as written, to the last digit."""
    with open(folder / "metrics.csv") as file:
        return {int(row["step"]): row["train/loss"] for row in csv.DictReader(file) if row.get("train/loss")}


@pytest.mark.slow
def test_killed_in_mid_epoch_the_loss_curve_goes_on_exactly(in_tmp_path: Path, world_root: Path) -> None:
    """kill -9 between two checkpoints, then --ckpt_path last: the same losses as in a run that was left alone."""
    more = (
        "--data.batch_size", "4", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1",
        "--trainer.num_sanity_val_steps", "0",
    )  # fmt: skip
    every_step = {
        "class_path": "callbacks.resuming.LastCheckpoint",
        "init_args": {"every_n_train_steps": 4},
    }
    slow = {"class_path": "slow_callback.Slow"}
    overlay = in_tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"trainer": {"callbacks+": [every_step, slow]}}))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
        "OMP_NUM_THREADS": "1",
    }

    def start(name: str, *extra: str) -> subprocess.Popen:
        command = ["fit", *arguments(world_root, "--config", str(overlay), *more, "--run_name", name, *extra)]
        with open(in_tmp_path / f"{name}.log", "w") as log:
            return subprocess.Popen(
                [sys.executable, str(REPOSITORY / "train.py"), *command],
                env=environment,
                stdout=log,
                stderr=log,
            )

    left_alone = start("left_alone")
    killed = start("killed")
    metrics = in_tmp_path / "runs/killed/fit-1/metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and max(losses(metrics.parent), default=0) >= 6):
        assert killed.poll() is None and time.monotonic() < deadline, (in_tmp_path / "killed.log").read_text()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left_alone.wait(timeout=240) == 0, (in_tmp_path / "left_alone.log").read_text()
    resumed = start("killed", "--ckpt_path", "last")
    assert resumed.wait(timeout=240) == 0, (in_tmp_path / "killed.log").read_text()
    expected, found = losses(in_tmp_path / "runs/left_alone/fit-1"), losses(in_tmp_path / "runs/killed/fit-1")
    assert len(expected) == 20
    assert found == expected


def run_command(folder: Path, *command: str) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "train.py"), *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=folder, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_two_ranks_score_what_one_scores(in_tmp_path: Path, world_root: Path) -> None:
    """gloo: over two ranks the same distance and retrieval, and every clip captioned once."""
    pretrained = ("--export.load", "false", "--data.eval_batch_size", "7")  # 20 clips a rank: 7, 7, 6
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
    scores = []
    for name, more in (("one", ()), ("two", two)):
        run_command(in_tmp_path, "validate", *arguments(world_root, *pretrained, "--run_name", name, *more))
        with open(f"runs/{name}/validate-1/metrics.csv") as file:
            scores.append({key: float(value) for key, value in next(csv.DictReader(file)).items() if "val/" in key})
    assert set(scores[0]) == {"val/loss", "val/retrieval_r1", "val/retrieval_r10", "val/modality_gap"}
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
    run_command(in_tmp_path, "predict", *arguments(world_root, *pretrained, "--run_name", "two", *two))
    with open("runs/two/predict-1/captions.csv") as file:
        ids = [row["clip_id"] for row in csv.DictReader(file)]
    assert len(ids) == len(set(ids)) == 40


def test_validation_counts_every_clip_by_its_weight() -> None:
    """The logged distance is the mean over clips, whatever the batches; retrieval sees all clips at once."""
    from lightning.pytorch import Trainer

    from datamodules.clips import ClipBatch

    generator = torch.Generator().manual_seed(0)

    def batch(clips: int) -> ClipBatch:
        return ClipBatch(
            [str(i) for i in range(clips)],
            torch.randint(-9000, 9000, (max(clips, 1), 40000), dtype=torch.int16, generator=generator),
            torch.full((max(clips, 1),), 40000),
            torch.randint(0, 256, (max(clips, 1), 3, 64, 64), dtype=torch.uint8, generator=generator),
            [[]] * clips, [[]] * clips,
        )  # fmt: skip

    batches = [batch(3), batch(1), batch(0)]  # the last is a filler
    stage = module()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    logged = trainer.validate(stage, torch.utils.data.DataLoader(batches, batch_size=None), verbose=False)[0]
    stage.eval()  # no augmentation, as in validation
    with torch.no_grad():
        each = [stage.distance(b)[0] for b in batches[:2]]
    assert logged["val/loss"] == pytest.approx((3 * each[0] + each[1]).item() / 4, rel=1e-5)
    assert logged["val/retrieval_r10"] == 1  # 4 clips
    with pytest.MonkeyPatch.context() as patch:  # a clip whose loss is no number is not left out
        patch.setattr(stage.criterion, "forward", lambda audio, image: (audio.sum() * torch.nan, {}))
        again = trainer.validate(stage, torch.utils.data.DataLoader(batches[1:], batch_size=None), verbose=False)[0]
    assert math.isnan(again["val/loss"])
    with torch.no_grad():
        tokens = [
            torch.cat([encode(b) for b in batches[:2]]).flatten(0, 1)
            for encode in (stage.captioner.network.audio_tokens, stage.captioner.network.image_tokens)
        ]
    centroids = [(part / part.norm(dim=1, keepdim=True)).mean(0) for part in tokens]
    assert logged["val/modality_gap"] == pytest.approx((centroids[0] - centroids[1]).norm().item(), rel=1e-5)


def test_class_defaults_are_the_papers() -> None:
    """Adam 1e-4 (0.95, 0.999), weight decay 5e-7, halved at epochs 10 and 15; configs/paper gives the same."""
    configured = module().configure_optimizers()
    group, schedule = configured["optimizer"].param_groups[0], configured["lr_scheduler"]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.95, 0.999), 5e-7)
    assert (sorted(schedule.milestones), schedule.gamma) == ([10, 15], 0.5)
    paper = yaml.safe_load((REPOSITORY / "configs/paper/token_alignment.yaml").read_text())
    arguments = paper["model"]["init_args"]
    optimizer, scheduler = arguments["optimizer"]["init_args"], arguments["lr_scheduler"]["init_args"]
    assert (optimizer["lr"], tuple(optimizer["betas"]), optimizer["weight_decay"]) == (
        1e-4,
        (0.95, 0.999),
        5e-7,
    )
    assert (scheduler["milestones"], scheduler["gamma"]) == ([10, 15], 0.5)
    assert (paper["trainer"]["max_epochs"], paper["data"]["init_args"]["global_batch_size"]) == (20, 256)


def test_a_criterion_with_parameters() -> None:
    """Its parameters are a second group, without weight decay."""
    criterion = AttentiveOptimalTransport(96)
    stage = TokenAlignment(criterion, module().captioner.network)
    groups = stage.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [5e-7, 0]
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in criterion.parameters()}
    assert len(module().configure_optimizers()["optimizer"].param_groups) == 1  # of optimal transport, which has none


def test_the_schedule_follows_the_epochs(
    in_tmp_path: Path, world_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three epochs of attentive transport: uniform weights in the first, then the entropy weights one by one.

    Its export has no weights of the criterion, and validation says so.
    """
    overlay = str(REPOSITORY / "configs/criterion/attentive_ot.yaml")
    short = ("--trainer.max_epochs", "3", "--trainer.limit_train_batches", "2", "--trainer.log_every_n_steps", "1")
    weights = ("--model.criterion.init_args.temperature", "0.01")  # so that one step's weights are far from uniform
    main(["fit", *arguments(world_root, "--config", overlay, "--data.batch_size", "8", *short, *weights)])
    with open("runs/dali_attentive_ot/fit-1/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [float(row["train/entropy_weight"]) for row in rows] == [160] * 4 + [128] * 2
    missing = [float(row["train/image_entropy_uniform"]) - float(row["train/image_entropy"]) for row in rows]
    assert max(map(abs, missing[:2])) < 1e-6 < 1e-5 < min(missing[2:])
    for start, untrained in (((), True), (("--ckpt_path", "best"), False)):
        main(["validate", *arguments(world_root, "--config", overlay, *start)])
        assert ("the criterion untrained" in capsys.readouterr().out) is untrained


def test_only_what_is_wanted_is_asked_for() -> None:
    stage = module()
    fit = stage.clip_format("fit")
    assert (fit.sampling_rate, fit.image_size) == (16000, 64)
    captioner = stage.captioner.network
    captioner.inputs = "audio"
    assert stage.clip_format("test").image_size is None and stage.clip_format("test").sampling_rate == 16000
    captioner.inputs = "image"
    assert stage.clip_format("predict").sampling_rate is None and stage.clip_format("predict").image_size == 64
