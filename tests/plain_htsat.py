"""HTSAT from its description (Chen et al., 2022) on the authors' tensors: one clip, in float64, window by window."""

import torch
import torch.nn.functional as F
from torch import Tensor

DEPTHS, HEADS, WINDOW = (2, 2, 6, 2), (4, 8, 16, 32), 8


def relative_positions() -> Tensor:
    """(64, 64): which row of the bias table a pair of places of a window has."""
    grid = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")).flatten(1)  # (2, 64)
    apart = grid[:, :, None] - grid[:, None] + 7
    return apart[0] * 15 + apart[1]


def plain_htsat(tensors: dict[str, Tensor], frames: Tensor) -> Tensor:
    """Log-mel frames (F, 64) to (768,)."""
    t = {name: value.double() for name, value in tensors.items() if value.is_floating_point()}

    def layer_norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias"))

    def attention(x: Tensor, name: str, heads: int, shift: int) -> Tensor:
        """x (S, S, D), rolled; each window attends to itself, and across the seam of the roll not at all."""
        size, width = x.shape[0], x.shape[2] // heads
        bias = t[f"{name}.relative_position_bias_table"][relative_positions()].permute(2, 0, 1)  # (heads, 64, 64)
        out = torch.empty_like(x)
        for top in range(0, size, WINDOW):
            for left in range(0, size, WINDOW):
                piece = x[top : top + WINDOW, left : left + WINDOW].reshape(64, -1)
                q, k, v = linear(piece, f"{name}.qkv").view(64, 3, heads, width).permute(1, 2, 0, 3)
                scores = q @ k.transpose(1, 2) / width**0.5 + bias
                if shift:
                    wrapped_row = torch.arange(top, top + 8) >= size - shift
                    wrapped_column = torch.arange(left, left + 8) >= size - shift
                    side = (wrapped_row[:, None] * 2 + wrapped_column).flatten()  # (64,)
                    scores = scores - 100.0 * (side[:, None] != side)
                done = (scores.softmax(-1) @ v).transpose(0, 1).reshape(64, -1)
                out[top : top + WINDOW, left : left + WINDOW] = linear(done, f"{name}.proj").view(8, 8, -1)
        return out

    x = F.interpolate(frames[None, None], (1024, 64), mode="bicubic", align_corners=True)[0, 0]
    x = (x - t["bn0.running_mean"]) / (t["bn0.running_var"] + 1e-5).sqrt() * t["bn0.weight"] + t["bn0.bias"]
    picture = x.T.reshape(64, 4, 256).transpose(0, 1).reshape(256, 256)  # quarters of the time under each other
    patches = F.conv2d(picture[None, None], t["patch_embed.proj.weight"], t["patch_embed.proj.bias"], 4)[0]
    x = layer_norm(patches.permute(1, 2, 0), "patch_embed.norm")  # (64, 64, 96)
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS)):
        for number in range(depth):
            name = f"layers.{stage}.blocks.{number}"
            shift = WINDOW // 2 if number % 2 and len(x) > WINDOW else 0
            y = layer_norm(x, f"{name}.norm1").roll((-shift, -shift), (0, 1))
            x = x + attention(y, f"{name}.attn", heads, shift).roll((shift, shift), (0, 1))
            x = x + linear(F.gelu(linear(layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
        if stage < 3:
            name = f"layers.{stage}.downsample"
            x = torch.cat((x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]), -1)
            x = linear(layer_norm(x, f"{name}.norm"), f"{name}.reduction")
    return layer_norm(x, "norm").mean((0, 1))
