"""The one pre-norm Transformer block of the project's vision-style encoders."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, queries, keys and values from one Linear with bias."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        batch, length, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """tokens + attention(norm1(tokens)), then + mlp(norm2(.)).

    Submodules are named as in most released ViT checkpoints: norm1, attn.{qkv,proj}, norm2, mlp.{fc1,fc2}.

    Args:
        width: D; a multiple of `num_heads`.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over D.
        layer_norm_eps: epsilon of both LayerNorms; released models differ (1e-5, 1e-6).
        attention: its class.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float,
        layer_norm_eps: float,
        attention: type[Attention] = Attention,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=layer_norm_eps)
        self.attn = attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=layer_norm_eps)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, hidden), gelu=nn.GELU(), fc2=nn.Linear(hidden, width))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))
