"""CAV-MAE files in the authors' layout, with random weights, and a forward pass written out."""

import math
from pathlib import Path

import torch
from torch import Tensor


def authors_layout(kind: str, width: int, depth: int, num_tokens: int) -> dict[str, tuple[int, ...]]:
    """Every key of the authors' file with its shape."""

    def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (size,), f"{name}.bias": (size,)}

    def block(name: str, size: int) -> dict[str, tuple[int, ...]]:
        keys: dict[str, tuple[int, ...]] = {}
        for which in ("norm1", "norm1_a", "norm1_v", "norm2", "norm2_a", "norm2_v"):
            keys |= norm(f"{name}.{which}", size)
        keys |= linear(f"{name}.attn.qkv", size, 3 * size) | linear(f"{name}.attn.proj", size, size)
        return keys | linear(f"{name}.mlp.fc1", size, 4 * size) | linear(f"{name}.mlp.fc2", 4 * size, size)

    media = {"a": 1} if kind == "CAVMAEFTAudio" else {"a": 1, "v": 3}
    keys = block("blocks_u.0", width) | norm("norm", width)
    for medium, channels in media.items():
        length = num_tokens if medium == "a" else 196
        keys[f"patch_embed_{medium}.proj.weight"] = (width, channels, 16, 16)
        keys[f"patch_embed_{medium}.proj.bias"] = (width,)
        keys[f"pos_embed_{medium}"] = (1, length, width)
        keys[f"modality_{medium}"] = (1, 1, width)
        keys |= norm(f"norm_{medium}", width)
        for i in range(depth - 1):
            keys |= block(f"blocks_{medium}.{i}", width)
        if kind == "CAVMAE":
            keys[f"decoder_pos_embed_{medium}"] = (1, length, 512)
            keys[f"decoder_modality_{medium}"] = (1, 1, 512)
            keys |= linear(f"decoder_pred_{medium}", 512, 256 * channels)
    if kind == "CAVMAE":
        keys |= linear("decoder_embed", width, 512) | norm("decoder_norm", 512) | {"mask_token": (1, 1, 512)}
        for i in range(8):
            keys |= block(f"decoder_blocks.{i}", 512)
    else:
        keys |= norm("mlp_head.0", width) | linear("mlp_head.1", width, 527)
    return keys


def is_used(key: str) -> bool:
    """Whether the audio branch, run on sound alone, reads this key."""
    if key.startswith("blocks_u.0.norm"):
        return key.startswith(("blocks_u.0.norm1_a.", "blocks_u.0.norm2_a."))
    if key.startswith("blocks_a."):
        return "norm1_" not in key and "norm2_" not in key
    return key.startswith(("blocks_u.", "patch_embed_a.", "norm_a.")) or key in ("pos_embed_a", "modality_a")


def authors_weights(layout: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random weights where sound alone needs them, and NaN, which would spread, everywhere else."""
    random = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape in layout.items():
        if not is_used(key):
            weights[key] = torch.tensor(float("nan")).expand(shape)  # one number on disk
        elif "norm" in key:
            weights[key] = torch.rand(shape, generator=random) + 0.5
        else:
            weights[key] = torch.randn(shape, generator=random) / math.sqrt(shape[-1])
    return weights


def save(weights: dict[str, Tensor], path: Path, prefix: str = "") -> Path:
    torch.save({prefix + key: value for key, value in weights.items()}, path)
    return path


def written_forward(
    weights: dict[str, Tensor], features: Tensor, depth: int, num_heads: int, shared_norm: str = "_a"
) -> Tensor:
    """Tokens after `norm_a`, token by token and head by head, on the authors' keys: (B, N, width)."""
    width = weights["norm_a.weight"].numel()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    kernel = weights["patch_embed_a.proj.weight"].reshape(width, 256)
    tokens = []
    for f in range(features.shape[2] // 16):
        for t in range(features.shape[1] // 16):
            patch = features[:, 16 * t : 16 * t + 16, 16 * f : 16 * f + 16].transpose(1, 2)  # frequency, time
            tokens.append(patch.reshape(-1, 256) @ kernel.T + weights["patch_embed_a.proj.bias"])
    x = torch.stack(tokens, dim=1) + weights["pos_embed_a"] + weights["modality_a"]

    names = [(f"blocks_a.{i}", "") for i in range(depth - 1)] + [("blocks_u.0", shared_norm)]
    for name, suffix in names:
        query, key, value = linear(f"{name}.attn.qkv", norm(f"{name}.norm1{suffix}", x)).split(width, dim=-1)
        heads = []
        for q, k, v in zip(*(part.chunk(num_heads, dim=-1) for part in (query, key, value)), strict=True):
            weight = (q @ k.transpose(1, 2) / math.sqrt(width // num_heads)).softmax(dim=-1)
            heads.append(weight @ v)
        x = x + linear(f"{name}.attn.proj", torch.cat(heads, dim=-1))
        hidden = linear(f"{name}.mlp.fc1", norm(f"{name}.norm2{suffix}", x))
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + linear(f"{name}.mlp.fc2", hidden)
    return norm("norm_a", x)
