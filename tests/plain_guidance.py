"""Guided decoding of one clip, written plainly: nothing batched, trimmed, shared or cached."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

Texts = Callable[[list[str]], Tensor]


def cache_of(model: Any, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of a row of tokens (L,), layer by layer."""
    cache = model(tokens[None], past_key_values=DynamicCache(), use_cache=True).past_key_values
    return [(layer.keys.detach(), layer.values.detach()) for layer in cache.layers]


def next_logits(model: Any, last: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Logits (V,) of the token after `last`, given keys and values of all before it, layer by layer."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(pairs):
        cache.update(keys, values, layer)
    return model(last.view(1, 1), past_key_values=cache, use_cache=True).logits[0, -1]


def plain_step(
    model: Any, tokenizer: Any, g: Any, tokens: Tensor, match: Texts, audible: Texts, audio: Tensor,
    factors: dict[int, float] | None = None,
) -> Tensor:  # fmt: skip
    """Log-probabilities (V,) of the token after `tokens` (L,), damped by `factors`; `audio` is (D,)."""
    before = cache_of(model, tokens[:-1])
    with torch.no_grad():
        unguided = torch.softmax(next_logits(model, tokens[-1], before), -1)
    shifts = [[torch.zeros_like(keys), torch.zeros_like(values)] for keys, values in before]
    for _ in range(g.num_steps):
        shifts = [[shift.detach().requires_grad_() for shift in pair] for pair in shifts]
        moved = [(k + sk, v + sv) for (k, v), (sk, sv) in zip(before, shifts)]
        p = torch.softmax(next_logits(model, tokens[-1], moved), -1)
        likeliest = p.argsort(descending=True)[: g.num_candidates]
        texts = [tokenizer.decode([*tokens[1:].tolist(), int(i)]) for i in likeliest]
        with torch.no_grad():
            score = torch.stack(
                [torch.cosine_similarity(match([t])[0], audio, 0) + g.lambda_2 * audible([t])[0] for t in texts]
            )
            target = torch.softmax(score / g.temperature, 0)
        fluency = -(p * unguided.log()).sum()
        if g.fluency == "kl":
            fluency = fluency + (p * p.log()).sum()
        loss = g.lambda_0 * fluency - g.lambda_1 * (target * p[likeliest].log()).sum()
        loss.backward()
        shifts = [
            [s.detach() - g.step_size * s.grad / (s.grad.norm() + 1e-15) ** g.norm_exponent for s in pair]
            for pair in shifts
        ]
    with torch.no_grad():
        moved = [(k + sk, v + sv) for (k, v), (sk, sv) in zip(before, shifts)]
        logits = next_logits(model, tokens[-1], moved)
        for token, factor in (factors or {}).items():
            logits[token] = logits[token] / factor if logits[token] > 0 else logits[token] * factor
        p = torch.softmax(logits, -1)
        fused = p**g.fusion * unguided ** (1 - g.fusion)
        return (fused / fused.sum()).log()
