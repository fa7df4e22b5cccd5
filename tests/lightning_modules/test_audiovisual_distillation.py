"""Distillation through the real command: what trains, what stays, what is run."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from conftest import MINIATURE, REPOSITORY, arguments
from safetensors.torch import load_file

from datamodules.clips import ClipBatch
from datamodules.shards import read_index, read_samples, write_shards
from lightning_modules.audiovisual_distillation import AudiovisualDistillation
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.image_encoder import ImageEncoder
from lightning_modules.networks.llava.language_model import LlavaLanguageModel
from train import main

LLAVA, PREFIX = str(MINIATURE / "llava"), str(MINIATURE / "prefix")


@pytest.fixture()
def table(in_tmp_path: Path, world_root: Path) -> Path:
    """Captions of the training clips, as predict would have written them."""
    path = in_tmp_path / "captions.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip_id", "caption"])
        for shard in read_index(world_root / "first-40/audiocaps/train"):
            for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
                writer.writerow([sample.record["id"], "a dog barks"])
    return path


def command(world_root: Path, *more: str) -> list[str]:
    return arguments(
        world_root,
        "--model.captioner.audio_encoder.init_args.pretrained_model_name_or_path", str(MINIATURE / "cav_mae"),
        "--model.captioner.prefix", PREFIX, "--data.train", "audiocaps/train", "--data.batch_size", "8",
        "--trainer.log_every_n_steps", "1",
        *more, config="distillation.yaml",
    )  # fmt: skip


def test_only_the_audio_projector_trains_and_the_image_path_is_bit_identical(
    in_tmp_path: Path, world_root: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ImageEncoder, "__init__", lambda *_: pytest.fail("fit built the vision tower"))
        main(["fit", *command(world_root, "--data.captions", str(table))])
    checkpoint = torch.load("runs/distillation_attentive_ot/fit-1/checkpoints/last.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"audio_projector"}
    with open("runs/distillation_attentive_ot/fit-1/metrics.csv") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    assert losses[-1] < losses[0] / 2  # all captions are one

    plain = LlavaLanguageModel.from_pretrained(LLAVA, PREFIX)
    tuned = LlavaLanguageModel.from_pretrained(LLAVA, PREFIX, "exports/distillation_attentive_ot")
    exported = load_file("exports/distillation_attentive_ot/model.safetensors")
    before = plain.llava.model.multi_modal_projector.state_dict()
    assert exported.keys() == before.keys() and len(exported) == 4  # two layers' weights and biases
    assert not any(torch.equal(exported[name], before[name]) for name in before)
    image, audio = torch.randn(3, 64, 96), torch.randn(3, 128, 96)
    with torch.no_grad():
        logits = [captioner.llava(inputs_embeds=captioner(None, image)).logits for captioner in (plain, tuned)]
        assert torch.equal(*logits)
        assert not torch.equal(tuned(audio, None), plain(audio, None))

    for inputs in ("audio", "image", "audio+image"):
        main(["test", *command(world_root, "--model.captioner.inputs", inputs)])
    counts = [json.loads(path.read_text())["num_clips"] for path in in_tmp_path.glob("runs/*/test-*/scores.json")]
    assert counts == [40, 40, 40]


def test_begins_as_the_image_projector() -> None:
    """Before a step, and after `load_export`'s absence, sounds caption as without a projector of their own."""
    encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae")
    stage = AudiovisualDistillation(LlavaCaptioner(LLAVA, encoder, PREFIX)).eval()
    stage.setup("test")
    batch = ClipBatch(
        ["a", "b"], torch.randint(-9000, 9000, (2, 40000), dtype=torch.int16), torch.full((2,), 40000), None,
        [["a dog barks"], ["rain falls"]], [[], []],
    )  # fmt: skip
    expected = LlavaLanguageModel.from_pretrained(LLAVA, PREFIX).generate(
        stage.captioner.network.audio_tokens(batch), None
    )
    assert stage.test_step(batch, 0)["captions"] == expected
    assert sum(p.numel() for p in stage.parameters()) == 96 * 128 + 128 + 128 * 128 + 128
    assert stage.test_step(ClipBatch([], None, None, None, [], []), 0)["clip_ids"] == []


def test_a_clip_without_pseudo_caption_is_named(
    in_tmp_path: Path, world_root: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if "train-000003" not in line))
    with pytest.raises(SystemExit):
        main(["fit", *command(world_root, "--data.captions", str(table))])
    assert "expected a caption of clip 'audiocaps-train-000003'" in capsys.readouterr().err


def test_class_defaults_are_the_papers() -> None:
    """2e-4, cosine, one epoch, 40 clips on each GPU; configs/paper gives the same back."""
    stage = AudiovisualDistillation(LlavaCaptioner(LLAVA, CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae")))
    group = stage.optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (group["lr"], group["weight_decay"], stage.warmup) == (2e-4, 0, 0.03)
    paper = yaml.safe_load((REPOSITORY / "configs/paper/audiovisual_distillation.yaml").read_text())
    given = paper["model"]["init_args"]["optimizer"]["init_args"]
    assert (given["lr"], given["weight_decay"]) == (2e-4, 0)
    assert (paper["trainer"]["max_epochs"], paper["data"]["init_args"]["global_batch_size"]) == (1, 4 * 40)


def test_pseudo_captions_of_unknown_words_are_refused(
    in_tmp_path: Path, world_root: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.write_text(table.read_text().replace("a dog barks", "ein Hund bellt"))
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *command(world_root, "--data.captions", str(table))])
    assert stopped.value.code == 2
    assert "add --config configs/paper/audiovisual_distillation.yaml for the real LLaVA" in capsys.readouterr().err


def test_clips_without_references_are_left_out_of_the_scores_and_a_test_of_them_alone_ends_early(
    in_tmp_path: Path, world_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = world_root / "first-40"
    (shard,) = read_index(root / "audiocaps/test")
    samples = list(read_samples(shard, 0, 12, lambda record: list(record["crc32"])))
    for name, bare in (("some", 4), ("none", 12)):
        clips = [
            (sample.record["id"], sample.media, sample.record | {"captions": sample.record["captions"] * (i >= bare)})
            for i, sample in enumerate(samples)
        ]
        write_shards(root / name / "test", clips)
    main(["test", *command(world_root, "--export.load", "false", "--data.test", "some/test")])
    run = in_tmp_path / "runs/distillation_attentive_ot/test-1"
    scores = json.loads((run / "scores.json").read_text())
    assert (scores["num_clips"], scores["num_without_references"]) == (8, 4)
    with open(run / "captions.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["cider_d"] == "" for row in rows] == [row["references"] == "[]" for row in rows]
    assert len(rows) == 12 and all(row["caption"] for row in rows)
    assert "not scored: 4 of 12 clips, which have no references: audiocaps-test-000000, " in capsys.readouterr().out
    monkeypatch.setattr(LlavaCaptioner, "load", lambda *_: pytest.fail("networks were loaded"))
    with pytest.raises(SystemExit) as stopped:
        main(["test", *command(world_root, "--export.load", "false", "--data.test", "none/test")])
    assert stopped.value.code == 2
    assert "expected reference captions in none/test, found none for any clip; use `predict`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("--data.val", "audioset/val", "--trainer.limit_val_batches", "1.0"),
            "expected a caption of every clip, found none",
        ),
        (
            ("--trainer.max_epochs", "-1"),
            "expected a number of steps for the learning rate to end at, found training without",
        ),
    ],
)
def test_what_would_be_a_traceback_is_one_line(
    more: tuple[str, ...],
    said: str,
    in_tmp_path: Path,
    world_root: Path,
    table: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *command(world_root, "--data.captions", str(table), *more)])
    assert ended.value.code == 2 and said in capsys.readouterr().err
