"""COMET and the soft prompt through the real command, on a few captions of the miniature."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MINIATURE
from safetensors.torch import load_file
from wsac_command import SHORT, command

from datamodules.clip_loader import EvalLoader
from datamodules.clips import ClipFormat
from datamodules.shards import read_index
from earshot import Captioner
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.prefix_decoder import PrefixDecoder


@pytest.fixture()
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The embeddings that captions are decoded from, from here on."""
    found: list[torch.Tensor] = []
    plain = PrefixDecoder.generate
    monkeypatch.setattr(PrefixDecoder, "generate", lambda self, *args: found.append(args[0]) or plain(self, *args))
    return found


def audio_of(root: Path, split: str) -> np.ndarray:
    """CLAP's embeddings (N, D) of the audio of a split."""
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    loader = EvalLoader(read_index(root / "first-40" / split), ClipFormat(sampling_rate=clap.sampling_rate), 40)
    with torch.no_grad():
        return torch.cat([clap.embed_audio(batch.waveforms, batch.num_samples) for batch in loader]).double().numpy()


def captions_in(folder: str) -> list[str]:
    with open(Path(folder, "captions.csv")) as file:
        return [row["caption"] for row in csv.DictReader(file)]


def test_comet_in_training_and_at_inference(
    in_tmp_path: Path, captions_root: Path, decoded: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decoded is the formula; the export has the axes, and neither pairs nor captions are read for them."""
    command("fit", captions_root, *SHORT, strategies=("comet",))
    export = Path("exports/clap_prefix_comet")
    text, audio = (load_file(export / f"{name}.safetensors") for name in ("comet_text", "inference_strategy"))
    assert text["text_axes"].shape == (128, 10)
    torch.testing.assert_close(text["text_axes"], audio["text_axes"])
    checkpoint = torch.load("runs/clap_prefix_comet/fit-1/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert "training_strategies.0.text_axes" in checkpoint and not [key for key in checkpoint if "inference" in key]

    decoded.clear()
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "captions", lambda *_: pytest.fail("captions were embedded"))
        patch.setattr(EmbeddingStore, "audio", lambda *_: pytest.fail("pairs were embedded"))
        command("test", captions_root, strategies=("comet",))
    sounds = audio_of(captions_root, "audiocaps/test")
    plain = {name: value.double().numpy() for name, value in audio.items()}
    coefficients = plain["scale"] * (sounds - plain["audio_mean"]) @ plain["audio_axes"]
    wanted = plain["text_mean"] + coefficients @ plain["text_axes"].T
    np.testing.assert_allclose(decoded[0].numpy(), wanted, atol=1e-4)

    best = ("--ckpt_path", "runs/clap_prefix_comet/fit-1/checkpoints/best.ckpt")
    command("test", captions_root, *best, strategies=("comet",))  # which computes the axes at inference again
    assert captions_in("runs/clap_prefix_comet/test-2") == captions_in("runs/clap_prefix_comet/test-1")
    assert isinstance(Captioner.from_pretrained(export)(np.random.default_rng(0).normal(size=16000) * 0.1, 16000), str)


def test_comet_at_inference_alone(
    in_tmp_path: Path, captions_root: Path, decoded: list[torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT)
    decoded.clear()
    capsys.readouterr()
    command("test", captions_root, strategies=("comet_inference",))
    said = capsys.readouterr().out
    assert "paired axes: 10 of 128" in said and "pairs of wavcaps/train" in said
    assert "captions of audiocaps/train" not in said  # no memory is searched in
    among = (decoded[0].mean(0) - torch.from_numpy(audio_of(captions_root, "audiocaps/test")).mean(0)).norm()
    assert among > 0.5  # moved to where the texts are
    assert len(captions_in("runs/clap_prefix_comet_inference/test-1")) == 40


def test_a_soft_prompt_is_trained_and_tested(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT, strategies=("soft_prompt",))
    assert "instance replacement: " in capsys.readouterr().out
    command("test", captions_root, strategies=("soft_prompt",))
    assert len(captions_in("runs/clap_prefix_soft_prompt/test-1")) == 40
