"""Every stage at the size of LLaVA-1.5-7B and CAV-MAE, on the meta device: shapes and counts, no weights."""

from pathlib import Path

import pytest
import torch
from conftest import MINIATURE
from torch import nn
from transformers import AutoProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from datamodules.clips import ClipBatch
from lightning_modules.audiovisual_distillation import AudiovisualDistillation
from lightning_modules.llava_prefix_tuning import LlavaPrefixTuning
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.image_encoder import ImageEncoder, VisionTower
from lightning_modules.networks.llava.language_model import LlavaLanguageModel
from lightning_modules.token_alignment import TokenAlignment

PROJECTOR = (1024 * 4096 + 4096) + (4096 * 4096 + 4096)


def config() -> LlavaConfig:
    """llava-hf/llava-1.5-7b-hf's, but for the id of the image token: the small tokenizer has it elsewhere."""
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768, vocab_size=32000,
    )  # fmt: skip
    text = LlamaConfig(vocab_size=32064, max_position_embeddings=4096, rms_norm_eps=1e-5)  # else LLaMA-7B's defaults
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=4, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=576,
    )  # fmt: skip


@pytest.fixture(scope="module")
def processor() -> AutoProcessor:
    """The small LLaVA's with as many words as LLaVA-1.5's has: 32,002."""
    processor = AutoProcessor.from_pretrained(MINIATURE / "llava")
    words = processor.tokenizer
    words.add_tokens([f"word{number}" for number in range(32002 - len(words))])
    assert len(words) == 32002
    return processor


@pytest.fixture()
def full_size(processor: AutoProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stages load is of full size and has no weights; other attentions look into the mask."""

    def captioner(*_: object, **__: object) -> LlavaLanguageModel:
        with torch.device("meta"):
            return LlavaLanguageModel(
                LlavaForConditionalGeneration._from_config(config(), attn_implementation="eager"), processor, []
            )

    def tower(*_: object, **__: object) -> ImageEncoder:
        vision = config().vision_config
        vision.num_hidden_layers += 1 + config().vision_feature_layer
        with torch.device("meta"):
            return ImageEncoder(VisionTower(vision), [0.5] * 3, [0.5] * 3)

    monkeypatch.setattr(LlavaLanguageModel, "from_pretrained", captioner)
    monkeypatch.setattr(ImageEncoder, "from_pretrained", tower)


def encoder() -> CavMaeEncoder:
    with torch.device("meta"):
        return CavMaeEncoder()


def batch() -> ClipBatch:
    with torch.device("meta"):
        return ClipBatch(
            ["a", "b"], torch.zeros(2, 163840, dtype=torch.int16), torch.full((2,), 163840),
            torch.zeros(2, 3, 336, 336, dtype=torch.uint8), [["a dog barks"], ["rain falls"]], [[], []],
        )  # fmt: skip


def trainable(stage: nn.Module) -> int:
    return sum(p.numel() for p in stage.parameters() if p.requires_grad)


def test_prefix_tuning(full_size: None) -> None:
    stage = LlavaPrefixTuning(LlavaCaptioner(inputs="image"))
    stage.setup("fit")
    assert stage.prefix is not None
    assert stage.prefix.shape == (16, 4096) and trainable(stage) == 16 * 4096
    assert stage.captioner.network.loaded.prefix_ids == list(range(32002, 32018))  # rows that no word uses
    tokens = stage.image_tokens(batch())
    assert tokens.shape == (2, 576, 1024)
    loss, counted = stage.captioner.network.loss(batch(), image_tokens=tokens)
    assert loss.shape == counted.shape == ()
    loss.backward()
    assert stage.prefix.grad is not None and stage.prefix.grad.shape == (16, 4096)


def test_alignment(full_size: None) -> None:
    stage = TokenAlignment(OptimalTransport(), LlavaCaptioner(audio_encoder=encoder()))
    stage.setup("fit")
    assert stage.captioner.network.language_model is None
    features = torch.zeros(2, 1024, 128, device="meta")
    assert stage.audio_encoder(features).shape == (2, 512, 1024)
    assert stage.captioner.network.image_tokens(batch()).shape == (2, 576, 1024)
    count = trainable(stage)
    assert count == sum(p.numel() for p in stage.audio_encoder.parameters())
    assert 85e6 < count < 88e6  # the paper: 88M
    assert stage.audio_encoder.max_seconds == pytest.approx(10.255)


def test_distillation(full_size: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ImageEncoder, "__init__", lambda *_: pytest.fail("fit built the vision tower"))
    stage = AudiovisualDistillation(LlavaCaptioner(audio_encoder=encoder()))
    stage.setup("fit")
    assert stage.audio_projector is not None
    assert trainable(stage) == PROJECTOR
    assert [tuple(p.shape) for p in stage.audio_projector.parameters()] == [
        (4096, 1024), (4096,), (4096, 4096), (4096,),
    ]  # fmt: skip
    tokens = torch.zeros(2, 512, 1024, device="meta")
    nll, counted = stage.captioner.network.loaded.nll(tokens, None, ["a dog barks", "rain falls"])
    assert nll.shape == counted.shape == (2,)
    nll.sum().backward()
    assert all(p.grad is not None for p in stage.audio_projector.parameters())
    assert all(p.grad is None for p in stage.captioner.network.loaded.llava.parameters())


def test_a_prompt_of_both_media(full_size: None) -> None:
    captioner = LlavaLanguageModel.from_pretrained("")
    audio, image = (torch.zeros(2, tokens, 1024, device="meta") for tokens in (512, 576))
    before, after = captioner.prompt_ids("What sound can be heard in this scene ?")
    assert captioner(audio, image).shape == (2, len(before) + 512 + 576 + len(after), 4096)
