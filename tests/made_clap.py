"""Files of WavCaps' CLAP in the authors' layout, and small models of LAION's kind, with random weights."""

from pathlib import Path

import torch
from plain_htsat import relative_positions
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    ClapAudioConfig,
    ClapConfig,
    ClapModel,
    ClapTextConfig,
    RobertaTokenizer,
)
from transformers.models.clap.feature_extraction_clap import ClapFeatureExtractor

CHANNELS = (1, 64, 128, 256, 512, 1024, 2048)
AUDIO, TEXT = "audio_encoder.audio_enc.", "text_encoder.text_encoder."


def norm(name: str, width: int) -> dict[str, Tensor]:
    return {
        f"{name}.weight": 0.9 + 0.2 * torch.rand(width),
        f"{name}.bias": 0.1 * torch.randn(width),
        f"{name}.running_mean": 0.1 * torch.randn(width),
        f"{name}.running_var": 0.5 + torch.rand(width),
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def linear(name: str, rows: int, columns: int) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.randn(rows, columns) / columns**0.5, f"{name}.bias": 0.1 * torch.randn(rows)}


def cnn14() -> dict[str, Tensor]:
    tensors = norm("bn0", 64)
    for i in range(1, 7):
        for j, inputs in ((1, CHANNELS[i - 1]), (2, CHANNELS[i])):
            tensors[f"conv_block{i}.conv{j}.weight"] = (
                torch.randn(CHANNELS[i], inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            )
            tensors |= norm(f"conv_block{i}.bn{j}", CHANNELS[i])
    tensors["audio_feats_extractor.mel_trans.stft.conv_real.weight"] = torch.zeros(513, 1, 1024)
    tensors["audio_feats_extractor.mel_trans.stft.conv_imag.weight"] = torch.zeros(513, 1, 1024)
    tensors["audio_feats_extractor.log_trans.melW"] = torch.zeros(513, 64)
    return tensors


def htsat() -> dict[str, Tensor]:
    tensors = norm("bn0", 64) | {"patch_embed.proj.weight": torch.randn(96, 1, 4, 4) / 4}
    tensors["patch_embed.proj.bias"] = 0.1 * torch.randn(96)

    def layer_norm(name: str, width: int) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = 0.9 + 0.2 * torch.rand(width), 0.1 * torch.randn(width)

    layer_norm("patch_embed.norm", 96)
    for i, (depth, heads) in enumerate(zip((2, 2, 6, 2), (4, 8, 16, 32))):
        width = 96 * 2**i
        for j in range(depth):
            name = f"layers.{i}.blocks.{j}"
            layer_norm(f"{name}.norm1", width)
            layer_norm(f"{name}.norm2", width)
            tensors[f"{name}.attn.relative_position_bias_table"] = torch.randn(225, heads)
            tensors[f"{name}.attn.relative_position_index"] = relative_positions()
            tensors |= linear(f"{name}.attn.qkv", 3 * width, width) | linear(f"{name}.attn.proj", width, width)
            tensors |= linear(f"{name}.mlp.fc1", 4 * width, width) | linear(f"{name}.mlp.fc2", width, 4 * width)
            if j % 2 and i < 3:
                tensors[f"{name}.attn_mask"] = torch.zeros(64 // 4**i, 64, 64)
        if i < 3:
            tensors[f"layers.{i}.downsample.reduction.weight"] = torch.randn(2 * width, 4 * width) / (4 * width) ** 0.5
            layer_norm(f"layers.{i}.downsample.norm", 4 * width)
    layer_norm("norm", 768)
    return tensors | linear("head", 527, 527) | {"tscam_conv.weight": torch.zeros(527, 768, 2, 3)}


def file_of(audio: dict[str, Tensor], width: int, config: dict) -> dict:
    """A checkpoint of the authors' layout."""
    text = BertModel(BertConfig(), add_pooling_layer=False).state_dict()
    model = {"temp": torch.tensor(0.07)} | {AUDIO + name: value for name, value in audio.items()}
    model |= {TEXT + name: value for name, value in text.items()}
    model[TEXT + "embeddings.position_ids"] = torch.arange(512)[None]
    for side, size in (("audio_proj", width), ("text_proj", 768)):
        model |= linear(f"{side}.0", 1024, size) | linear(f"{side}.2", 1024, 1024)
    return {"model": model, "optimizer": {"state": {}, "param_groups": []}, "config": config, "epoch": 3}


def laion(folder: Path, fusion: bool = False) -> tuple[ClapModel, ClapFeatureExtractor]:
    """A small `ClapModel`, saved with its features and tokenizer as transformers saves LAION's."""
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "Ġdog": 5}
    RobertaTokenizer(vocab=words, merges=[]).save_pretrained(folder)
    text = ClapTextConfig(
        vocab_size=6, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8, hidden_size=64, num_attention_heads=[2, 2, 4, 4], enable_fusion=fusion,
        fusion_type="aff_2d" if fusion else None, spec_size=256, depths=[1, 1, 1, 1],
    )  # fmt: skip
    model = ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=48)).eval()
    model.save_pretrained(folder)
    extractor = ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fusion else "rand_trunc")
    extractor.save_pretrained(folder)
    return model, extractor
