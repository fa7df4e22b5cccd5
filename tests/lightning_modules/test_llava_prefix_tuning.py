"""Prefix tuning through the real command, and its adapter through peft itself."""

import csv
import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from conftest import MINIATURE, REPOSITORY, arguments
from lightning.pytorch import LightningDataModule, Trainer
from peft import PeftModel
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import LlavaForConditionalGeneration

from datamodules.clips import ClipBatch
from datamodules.shards import write_shards
from earshot.errors import InputError
from lightning_modules.llava_prefix_tuning import LlavaPrefixTuning
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.image_encoder import ImageEncoder
from lightning_modules.networks.llava.language_model import LlavaLanguageModel
from tests.datamodules.made_clips import jpeg
from train import main

LLAVA = str(MINIATURE / "llava")


def stage_of(**settings: Any) -> LlavaPrefixTuning:
    return LlavaPrefixTuning(LlavaCaptioner(LLAVA, inputs="image"), **settings)


def command(world_root: Path, *more: str) -> list[str]:
    return arguments(world_root, *more, config="llava_prefix.yaml")


def test_fit_exports_an_adapter_that_peft_loads_and_test_uses(
    in_tmp_path: Path, world_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *command(world_root, "--trainer.max_steps", "3")])
    assert "LlavaPrefixTuning trains 2,048 parameters (prefix 2,048)" in capsys.readouterr().out
    checkpoint = torch.load("runs/llava_prefix/fit-1/checkpoints/last.ckpt", weights_only=True)
    assert list(checkpoint["state_dict"]) == ["prefix"]  # nothing else trains, nothing frozen is kept
    prefix = checkpoint["state_dict"]["prefix"]
    assert prefix.shape == (16, 128)

    plain = LlavaForConditionalGeneration.from_pretrained(LLAVA).eval()
    ids = torch.arange(128)[None]
    with torch.no_grad():
        before = plain(input_ids=ids[:, 5:]).logits
        adapted = PeftModel.from_pretrained(plain, "exports/llava_prefix").eval()
        with adapted.disable_adapter():
            assert torch.equal(adapted(input_ids=ids[:, 5:]).logits, before)
        assert not torch.equal(adapted(input_ids=ids[:, 5:]).logits, before)
    (rows,) = adapted.peft_config.values()
    assert torch.equal(adapted.get_input_embeddings()(torch.tensor(rows.token_indices)), prefix)
    assert sum(file.stat().st_size for file in Path("exports/llava_prefix").iterdir()) < 20_000

    main(["test", *command(world_root)])
    with open("runs/llava_prefix/test-1/captions.csv") as file:
        tested = {row["clip_id"]: row["caption"] for row in csv.DictReader(file)}
    main(["test", *arguments(world_root, "--config", str(REPOSITORY / "configs/inputs/image.yaml")),
          "--model.captioner.prefix", "exports/llava_prefix"])  # fmt: skip
    with open("runs/image/test-1/captions.csv") as file:
        assert {row["clip_id"]: row["caption"] for row in csv.DictReader(file)} == tested
    assert json.loads(Path("runs/llava_prefix/test-1/scores.json").read_text())["num_clips"] == 40


def test_devices_that_share_the_language_model_tune_the_same_prefix(
    in_tmp_path: Path, world_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes, with whole layers and with half of each layer."""
    sharded = ("--config", str(REPOSITORY / "configs/devices/sharded.yaml"))
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp_fork", "--trainer.max_steps", "3")
    shard = LlavaLanguageModel.shard

    def noted(self: LlavaLanguageModel) -> None:
        before = sum(weight.numel() for weight in self.llava.get_decoder().layers.parameters())
        shard(self)
        layers = self.llava.get_decoder().layers
        held = sum(weight.to_local().numel() for weight in layers.parameters())
        Path(f"held-{torch.distributed.get_rank()}").write_text(f"{held / before}")

        def whole(*args: Any) -> None:
            """Of the weights of all layers but the last, at its end."""
            gathered = sum(each.numel() for each in layers[:-1].parameters() if not isinstance(each, DTensor))
            Path(f"gathered-{torch.distributed.get_rank()}").write_text(f"{gathered}")

        layers[-1].register_forward_hook(whole)

    monkeypatch.setattr(LlavaLanguageModel, "shard", noted)
    main(["fit", *command(world_root, *two, "--run_name", "whole")])
    assert not list(Path().glob("held-*"))
    main(["fit", *command(world_root, *sharded, *two, "--run_name", "shared")])
    assert [float(Path(f"held-{rank}").read_text()) for rank in (0, 1)] == [0.5, 0.5]
    assert [Path(f"gathered-{rank}").read_text() for rank in (0, 1)] == ["0", "0"]
    whole, shared = (load_file(f"exports/{name}/adapter_model.safetensors") for name in ("whole", "shared"))
    assert all(torch.equal(whole[name], weight) for name, weight in shared.items()) and len(shared) == 1
    with pytest.raises(SystemExit):
        main(
            ["fit", *command(world_root, *sharded, "--data.val", "audiocaps/train", "--trainer.limit_val_batches", "1")]
        )
    assert "expected no validation beside model.captioner.sharded" in capsys.readouterr().err


def test_two_devices_tune_the_prefix_of_one(in_tmp_path: Path, world_root: Path) -> None:
    """All eight pairs in every step: on two devices the loss is the mean over all tokens, not that of two means."""
    fit = ("--trainer.max_steps", "3", "--data.num_pairs", "8", "--data.global_batch_size", "8")
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp_fork")
    runs = {"one": ("--data.batch_size", "8"), "two": ("--data.batch_size", "4", *two)}
    for name, more in runs.items():
        main(["fit", *command(world_root, *fit, *more, "--run_name", name)])
    one, both = (load_file(f"exports/{name}/adapter_model.safetensors") for name in runs)
    for name, weight in one.items():
        torch.testing.assert_close(weight, both[name], rtol=0, atol=1e-5)


def batch(seed: int = 0) -> ClipBatch:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return ClipBatch(["a", "b"], None, None, images, [["a dog barks"], ["rain falls while a bell rings"]], [[], []])


class OneBatch(LightningDataModule):
    """The few clips of a batch, as if of `num_pairs`."""

    few_clips: list[Any] = []

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader([batch()], batch_size=None)


def test_only_the_soft_tokens_change_and_the_rate_is_a_cosine() -> None:
    stage = stage_of(optimizer=lambda p: torch.optim.AdamW(p, lr=0.01), warmup=0.0)
    trainer = Trainer(
        max_steps=4, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, log_every_n_steps=1,
    )  # fmt: skip
    stage.setup("fit")
    model = stage.captioner.network.loaded
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.fit(stage, datamodule=OneBatch())
    after = model.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) == 1 and "trainable_tokens_delta" in changed[0]
    assert (after[changed[0]] != before[changed[0]]).any(1).all()  # all 16
    assert sum(p.numel() for p in stage.parameters() if p.requires_grad) == 16 * 128
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)  # the cosine has ended
    assert len(stage.known or {}) == 2  # pictures are encoded once
    trainer = Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    trainer.fit(stage, torch.utils.data.DataLoader([batch()], batch_size=None))
    assert stage.known is None  # a whole split shows another frame of each clip in each epoch


def test_the_export_captions_as_the_tuned_model_does(tmp_path: Path) -> None:
    stage = stage_of()
    stage.setup("test")
    stage.eval()
    assert stage.prefix is not None
    with torch.no_grad():
        stage.prefix.normal_()
    stage.export(tmp_path)
    tokens = ImageEncoder.from_pretrained(LLAVA).eval()(batch().images)
    expected = LlavaLanguageModel.from_pretrained(LLAVA, tmp_path).generate(None, tokens)
    assert stage.test_step(batch(), 0)["captions"] == expected
    other = stage_of()
    other.setup("test")
    other.load_export(tmp_path)
    assert torch.equal(other.prefix, stage.prefix)
    fewer = stage_of(num_tokens=4)
    fewer.setup("test")
    with pytest.raises(InputError, match="set model.num_tokens to 16"):
        fewer.load_export(tmp_path)


@pytest.mark.parametrize("inputs", ["audio", "image", "audio+image"])
def test_captions_from_sound_picture_or_both(inputs: Literal["audio", "image", "audio+image"]) -> None:
    """As the captioner from the same tokens."""
    encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae")
    stage = LlavaPrefixTuning(LlavaCaptioner(LLAVA, encoder, inputs=inputs)).eval()
    stage.setup("test")
    stage.load_export(MINIATURE / "prefix")
    wanted = stage.clip_format("test")
    assert (wanted.sampling_rate is None, wanted.image_size is None) == ("audio" not in inputs, "image" not in inputs)
    clips = batch()
    clips.waveforms = torch.randint(-9000, 9000, (2, 40000), dtype=torch.int16)
    clips.num_samples = torch.full((2,), 40000)
    with torch.no_grad():
        audio = encoder(encoder.features(clips.waveforms, clips.num_samples)) if "audio" in inputs else None
        image = ImageEncoder.from_pretrained(LLAVA).eval()(clips.images) if "image" in inputs else None
    expected = LlavaLanguageModel.from_pretrained(LLAVA, MINIATURE / "prefix").generate(audio, image)
    assert stage.predict_step(clips, 0)["captions"] == expected


def test_soft_tokens_begin_as_words_or_as_noise() -> None:
    words, noise = stage_of(), stage_of(initial_deviation=1e-4)
    for stage in (words, noise):
        stage.setup("fit")
    table = LlavaForConditionalGeneration.from_pretrained(LLAVA).get_input_embeddings().weight
    assert words.prefix is not None and noise.prefix is not None
    assert all((table == token).all(1).any() for token in words.prefix)
    assert 0.9e-4 < noise.prefix.std() < 1.1e-4 and noise.prefix.requires_grad


def test_bad_settings_are_named() -> None:
    with pytest.raises(InputError, match="expected an audio_encoder for inputs 'audio'"):
        LlavaCaptioner(LLAVA, inputs="audio")
    with pytest.raises(InputError, match="expected a captioner without a prefix"):
        LlavaPrefixTuning(LlavaCaptioner(LLAVA, prefix="exports/llava_prefix", inputs="image"))
    with pytest.raises(InputError, match="between 1 and 22 soft tokens"):
        stage_of(num_tokens=23).setup("fit")


def test_class_defaults_are_the_papers() -> None:
    """16 tokens, 2e-4, cosine; configs/paper gives the same back."""
    stage = LlavaPrefixTuning(LlavaCaptioner(inputs="image"))
    assert stage.num_tokens == 16
    group = stage.optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (2e-4, 0)
    paper = yaml.safe_load((REPOSITORY / "configs/paper/llava_prefix_tuning.yaml").read_text())
    given = paper["model"]["init_args"]["optimizer"]["init_args"]
    assert (given["lr"], given["weight_decay"]) == (2e-4, 0)
    assert paper["data"]["init_args"]["global_batch_size"] == 16
    assert (
        yaml.safe_load((REPOSITORY / "configs/llava_prefix.yaml").read_text())["data"]["init_args"]["num_pairs"] == 16
    )


@pytest.mark.parametrize("pairs", [True, False])
def test_captions_of_words_that_llava_does_not_know_are_refused(
    pairs: bool, in_tmp_path: Path, world_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the pairs' table; and those in the split's own records, where fit reads all of it."""
    if pairs:
        Path("pairs.csv").write_text("id;caption\naudiocaps-train-000002;ein Hund bellt\n")
        given = ("--data.num_pairs", "null", "--data.pairs", "pairs.csv")
    else:
        clips = [("x", {"jpg": jpeg(9), "0.jpg": jpeg(9)}, {"captions": ["ein Hund bellt"]})]
        write_shards(world_root / "first-40/german/train", clips)
        given = ("--data.num_pairs", "null", "--data.train", "german/train")
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *command(world_root, *given)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "found 100% unknown words, such as 'ein', 'hund', 'bellt'; add --config configs/paper/llava_prefix" in error
