"""Texts embedded by a language model that was not trained for it: the mean of its last hidden states."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from earshot.errors import InputError
from lightning_modules.networks.pretrained import pretrained


class MeanHiddenState(nn.Module):
    """The mean over a text's tokens of a causal language model's last hidden state (DALI, appendix C: GPT-2).

    No token is put before or after a text; a text without tokens is the end-of-text token. A text's embedding does not
    depend on the texts beside it: padding stands after a text, where a causal model cannot see it, and is not averaged.

    Args:
        model: a transformers causal language model without its head.
        tokenizer: of the model, with an end-of-text token.
        max_tokens: longer texts are cut.

    Raises:
        InputError: the tokenizer has no end-of-text token.
    """

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int = 64) -> None:
        super().__init__()
        if tokenizer.eos_token is None:
            raise InputError("expected a tokenizer with an end-of-text token, found none; name another language_model")
        self.model = model
        self.tokenizer = tokenizer
        self.tokenizer.pad_token = tokenizer.eos_token  # GPT-2 has none, and any will do
        self.max_tokens = max_tokens

    @classmethod
    def from_pretrained(cls, language_model: str | Path) -> Self:
        """Load a folder or hub id.

        Raises:
            InputError: nothing there, or another model.
        """
        with pretrained(language_model, "a causal language model") as name:
            return cls(AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name))

    @torch.no_grad()
    def forward(self, texts: list[str]) -> Tensor:
        """N texts to embeddings (N, D), float32."""
        encoded = self.tokenizer(
            [text or self.tokenizer.eos_token for text in texts], padding=True, padding_side="right", truncation=True,
            max_length=self.max_tokens, add_special_tokens=False, return_tensors="pt",
        )  # fmt: skip
        ids, mask = (encoded[name].to(self.model.device) for name in ("input_ids", "attention_mask"))  # (N, L)
        # GPT-2's embeddings of any two texts have a cosine near 1, which 16 bits would not tell apart
        with torch.autocast(self.model.device.type, enabled=False):
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # (N, L, D)
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
