"""WSAC's decoder: a caption from one embedding, by prefix language modelling (section 2, Eq. 1)."""

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessorList

from earshot.errors import InputError
from lightning_modules.networks.wsac_checkpoint import read_decoder

CARD = """---
{{ card_data }}
---
WSAC's decoder, which captions CLAP embeddings: `lightning_modules.networks.prefix_decoder.PrefixDecoder` loads it.
"""


class PrefixDecoder(nn.Module, PyTorchModelHubMixin, model_card_template=CARD):
    """A mapping network makes the prefix of a Transformer that is trained from scratch.

    The prefix predicts `bos`, and a caption ends with `eos`.

    Args:
        embedding_dim: D, of the embeddings.
        vocab_size: of the tokenizer in use.
        bos_token_id: the first token of a caption; BERT's [CLS].
        eos_token_id: the last one; BERT's [SEP].
        pad_token_id: after it.
        width: hidden state.
        depth: layers.
        num_heads: attention heads.
        prefix_length: tokens that the embedding becomes.
        max_tokens: longest caption, `bos` and `eos` included.
        dropout: in the Transformer.
        mapping_layers: of the mapping network, 1 or 2; the paper 2, the authors' code 1.
        prompt_tokens: P, how many tokens of a prompt it reads between the prefix and the caption; WSAC has none.

    Raises:
        InputError: sizes that do not go together.
    """

    def __init__(
        self,
        embedding_dim: int,
        vocab_size: int,
        bos_token_id: int,
        eos_token_id: int,
        pad_token_id: int,
        width: int = 768,
        depth: int = 4,
        num_heads: int = 4,
        prefix_length: int = 1,
        max_tokens: int = 30,
        dropout: float = 0.1,
        mapping_layers: int = 2,
        prompt_tokens: int = 0,
    ) -> None:
        super().__init__()
        if min(width, depth, num_heads, prefix_length) < 1 or width % num_heads or not 0 <= dropout < 1:
            raise InputError(
                f"expected depth, prefix_length and num_heads of at least 1, a width that num_heads divides and "
                f"dropout from 0 to below 1, found {depth}, {prefix_length}, {num_heads}, {width} and {dropout}; "
                "correct them"
            )
        if mapping_layers not in (1, 2):
            raise InputError(f"expected mapping_layers of 1 or 2, found {mapping_layers}; correct it")
        self.prefix_length = prefix_length
        self.max_tokens = max_tokens
        self.mapping = mapping_network(embedding_dim, width * prefix_length, mapping_layers)
        config = GPT2Config(
            vocab_size=vocab_size, n_positions=prefix_length + prompt_tokens + max_tokens, n_embd=width, n_layer=depth,
            n_head=num_heads, resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
            bos_token_id=bos_token_id, eos_token_id=eos_token_id, pad_token_id=pad_token_id,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own, in one operation: a step takes 5/6 of the time
        )  # fmt: skip
        self.language_model = GPT2LMHeadModel(config)

    @classmethod
    def for_tokenizer(
        cls, tokenizer: Any, embedding_dim: int, max_caption_tokens: int, max_new_tokens: int, **sizes: Any
    ) -> Self:
        """A decoder whose captions are written with a tokenizer that has BERT's special tokens.

        Args:
            tokenizer: see above.
            embedding_dim: D, of the embeddings.
            max_caption_tokens: longest caption in training, the first and the last token included.
            max_new_tokens: longest caption that is decoded.
            sizes: other arguments of the class.

        Raises:
            InputError: captions without room for a word.
        """
        if max_caption_tokens < 3 or max_new_tokens < 1:
            raise InputError(
                f"expected max_caption_tokens of at least 3 (a word, its beginning and end) and max_new_tokens of at "
                f"least 1, found {max_caption_tokens} and {max_new_tokens}; correct them"
            )
        special = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
        longest = max(max_new_tokens, max_caption_tokens)
        return cls(embedding_dim, len(tokenizer), *special, max_tokens=longest, **sizes)

    def prefix(self, embeddings: Tensor, prompts: Tensor | None = None) -> Tensor:
        """(B, D), and tokens (B, P) of prompts, to (B, prefix_length + P, width)."""
        made = self.mapping(embeddings).unflatten(1, (self.prefix_length, -1))
        return made if prompts is None else torch.cat((made, self.language_model.transformer.wte(prompts)), 1)

    def forward(self, embeddings: Tensor, tokens: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of a token, the mean over all tokens of the batch that are not padding (Eq. 1).

        Args:
            embeddings: (B, D).
            tokens: (B, L), from `bos` to `eos`, then padding.
            prompts: (B, P); None where the decoder reads none.

        Raises:
            InputError: captions longer than the decoder was made for.
        """
        if tokens.shape[1] > self.max_tokens:
            raise InputError(
                f"expected captions of at most {self.max_tokens} tokens, as in fit, found one of {tokens.shape[1]}; "
                "lower model.max_caption_tokens, or train with more"
            )
        embedded = self.language_model.transformer.wte(tokens[:, :-1])  # (B, L - 1, width)
        prefix = self.prefix(embeddings, prompts)
        inputs = torch.cat((prefix, embedded), 1)
        # causal attention never reaches the padding, which is at the end: no mask is needed
        states = self.language_model.transformer(inputs_embeds=inputs, use_cache=False).last_hidden_state
        logits = self.language_model.lm_head(states[:, prefix.shape[1] - 1 :])  # (B, L, vocabulary)
        padding = self.language_model.config.pad_token_id
        return F.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten(), ignore_index=padding)

    def require_room(self, max_new_tokens: int) -> None:
        """Refuse captions that are longer than the decoder was made for.

        Raises:
            InputError: that is so.
        """
        if max_new_tokens > self.max_tokens:
            raise InputError(
                f"expected max_new_tokens of at most {self.max_tokens}, as in fit, found {max_new_tokens}; lower it, "
                "or train with more"
            )

    def load_authors(self, path: str | Path) -> None:
        """Take the weights of a file that the code of WSAC's authors wrote (`wsac_checkpoint`).

        Raises:
            InputError: no such file, another kind of file, or one of other sizes; theirs have one mapping layer.
        """
        self.load_state_dict(read_decoder(path, self.state_dict()))

    @torch.inference_mode()
    def candidates(
        self, embeddings: Tensor, number: int, max_new_tokens: int, prompts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The `number` (2 or more) captions of a beam search for each of B embeddings (B, D), the best first.

        Returns:
            Tokens (B * number, L), and the mean log-likelihood of each caption's tokens (B * number).
        """
        prefix = self.prefix(embeddings, prompts)
        found = self.language_model.generate(
            inputs_embeds=prefix, attention_mask=prefix.new_ones(prefix.shape[:2]).long(), num_beams=number,
            num_return_sequences=number, max_new_tokens=min(max_new_tokens, self.max_tokens), do_sample=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        return found.sequences, found.sequences_scores

    @torch.inference_mode()
    def sample(
        self, embeddings: Tensor, processors: LogitsProcessorList, max_new_tokens: int, prompts: Tensor | None = None
    ) -> Tensor:
        """One caption of each of B embeddings (B, D), sampled by `seeded_sampling.sampled`: tokens (B, L)."""
        prefix = self.prefix(embeddings, prompts)
        found: Tensor = self.language_model.generate(
            inputs_embeds=prefix, attention_mask=prefix.new_ones(prefix.shape[:2]).long(),
            max_new_tokens=min(max_new_tokens, self.max_tokens), do_sample=False, logits_processor=processors,
        )  # fmt: skip
        return found

    @torch.inference_mode()
    def generate(self, embeddings: Tensor, max_new_tokens: int | None = None, prompts: Tensor | None = None) -> Tensor:
        """Greedy captions of embeddings (B, D): tokens (B, L) from `bos` on, padded after `eos`.

        Args:
            embeddings: (B, D).
            max_new_tokens: longest caption, at most `max_tokens`, which None takes.
            prompts: (B, P); None where the decoder reads none.
        """
        longest = min(max_new_tokens or self.max_tokens, self.max_tokens)
        model, config = self.language_model, self.language_model.config
        inputs, cache = self.prefix(embeddings, prompts), None
        tokens = torch.empty(len(inputs), 0, dtype=torch.long, device=inputs.device)
        ended = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        while tokens.shape[1] < longest and not ended.all():
            out = model.transformer(inputs_embeds=inputs, past_key_values=cache, use_cache=True)
            token = model.lm_head(out.last_hidden_state[:, -1]).argmax(-1)  # (B,)
            token = token.masked_fill(ended, config.pad_token_id)
            ended |= token == config.eos_token_id
            tokens = torch.cat((tokens, token[:, None]), 1)
            inputs, cache = model.transformer.wte(token[:, None]), out.past_key_values  # (B, 1, width)
        return tokens


def mapping_network(embedding_dim: int, output_dim: int, layers: int) -> nn.Sequential:
    """(B, embedding_dim) to (B, output_dim), by one layer or two."""
    if layers == 1:
        return nn.Sequential(nn.Linear(embedding_dim, output_dim))
    hidden = (embedding_dim + output_dim) // 2
    return nn.Sequential(nn.Linear(embedding_dim, hidden), nn.ReLU(), nn.Linear(hidden, output_dim))
