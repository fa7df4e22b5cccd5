"""A causal language model that is run one token at a time, with its KV cache as one tensor."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList

from earshot.errors import InputError


@dataclass
class CausalLm:
    """Runs rows of equally many tokens; the KV cache holds all tokens of a row but the last.

    Args:
        model: a transformers causal language model.
        tokenizer: of the model.
    """

    model: Any
    tokenizer: Any

    def encode(self, prompt: str) -> Tensor:
        """The tokens of a prompt, (L,), after the tokenizer's BOS token, or its EOS token where it has no BOS."""
        ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        first = self.tokenizer.bos_token_id
        if first is None:
            first = self.tokenizer.eos_token_id
        if first is None:
            raise InputError(
                "expected a tokenizer with a BOS or an EOS token, found neither; choose another model.language_model"
            )
        return torch.tensor([first, *ids], device=self.model.device)

    def encode_whole(self, text: str) -> Tensor:
        """The tokens of a text that has its own special tokens in it, as chat templates write them, (L,)."""
        return torch.tensor(self.tokenizer(text, add_special_tokens=False)["input_ids"], device=self.model.device)

    def check_room(self, length: int) -> None:
        """Refuse texts of more tokens than the model has positions.

        Raises:
            InputError: that is so.
        """
        room = getattr(self.model.config, "max_position_embeddings", None) or length
        if length > room:
            raise InputError(
                f"expected a prompt and a caption of at most {room} tokens, the language model's positions, "
                f"found {length}; lower max_new_tokens, or shorten the prompt"
            )

    def decode(self, rows: list[list[int]]) -> list[str]:
        """The texts of token rows, without special tokens."""
        return self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def token_id(self, text: str) -> int:
        """The last token of `text` after a word; at the beginning of a word it may be another token."""
        return self.tokenizer(f"a{text}", add_special_tokens=False)["input_ids"][-1]

    def ids_with(self, characters: str) -> list[int]:
        """All tokens whose text has one of the characters."""
        return [i for i, text in enumerate(self.token_texts) if any(character in text for character in characters)]

    def ids_of(self, characters: str) -> list[int]:
        """All tokens whose text is one of the characters, or a number below 100,000 where they have the digits."""
        texts = set(characters) | ({str(number) for number in range(100_000)} if "0" in characters else set())
        return [i for i, text in enumerate(self.token_texts) if text in texts]

    @cached_property
    def token_texts(self) -> list[str]:
        """The text of every token; a model may have more rows, or fewer, than its tokenizer has tokens."""
        return self.decode([[i] for i in range(min(self.model.config.vocab_size, len(self.tokenizer)))])

    @torch.no_grad()
    def prefill(self, tokens: Tensor) -> Tensor:
        """Keys and values of tokens (R, L): (layers, 2, R, heads, L, width of a head)."""
        return stack_kv_cache(
            self.model(input_ids=tokens, past_key_values=DynamicCache(), use_cache=True).past_key_values
        )

    @torch.no_grad()
    def sample(self, prompts: list[Tensor], processors: LogitsProcessorList, max_new_tokens: int) -> list[str]:
        """A text after each of R prompts of any lengths (L,), without them, up to the model's end token.

        It begins with a space where it begins with a new word, whether or not the tokenizer drops leading spaces.

        Args:
            prompts: tokens.
            processors: of `seeded_sampling.sampled`, with one id for each prompt; empty takes the likeliest tokens.
            max_new_tokens: longest text.
        """
        longest = max(map(len, prompts))
        padding = self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        tokens = torch.full((len(prompts), longest), padding, device=self.model.device)  # (R, L)
        mask = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, 1
        found = self.model.generate(
            input_ids=tokens, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens,
            logits_processor=processors, pad_token_id=padding,
        )  # fmt: skip
        before = self.decode([prompt.tolist() for prompt in prompts])
        whole = self.decode([row[longest - len(prompt) :] for row, prompt in zip(found.tolist(), prompts)])
        return [text[len(start) :] for text, start in zip(whole, before)]

    def step(self, last: Tensor, kv_cache: Tensor) -> tuple[Tensor, Any]:
        """Logits (R, vocabulary) after the last tokens (R,), given all before; the cache with the last tokens too."""
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(kv_cache):
            cache.update(keys, values, layer)
        out = self.model(input_ids=last[:, None], past_key_values=cache, use_cache=True)
        return out.logits[:, -1].float(), out.past_key_values


def stack_kv_cache(cache: Any) -> Tensor:
    """A transformers cache as one tensor, (layers, 2, R, heads, L, width of a head)."""
    return torch.stack([torch.stack((layer.keys, layer.values)) for layer in cache.layers])
