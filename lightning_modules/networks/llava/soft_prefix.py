"""Soft tokens of the prompt as a peft adapter: rows of the embedding table that no token uses (DALI, section 3.1)."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, TrainableTokensConfig, get_peft_model
from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict
from torch import nn
from transformers import LlavaForConditionalGeneration

from earshot.errors import InputError
from lightning_modules.networks.llava.authors_files import authors_prefix, is_authors_file
from lightning_modules.networks.pretrained import pretrained

WHAT = "a tuned prefix (a peft adapter of trainable tokens)"


def trainable_prefix(
    llava: LlavaForConditionalGeneration, tokenizer: Any, num_tokens: int, initial_deviation: float | None = None
) -> PeftModel:
    """Give LLaVA, in place, `num_tokens` soft tokens that train; all the rest is frozen.

    Their ids follow the tokenizer's last token: 62 rows of LLaVA-1.5's table belong to no token. They are initialised
    with the embeddings of random tokens, which Lester et al. (2021, section 3.2) found better than noise, or, given an
    `initial_deviation`, with normal noise of that standard deviation.

    Raises:
        InputError: the table has too few free rows.
    """
    table = llava.get_input_embeddings().weight
    free = len(table) - len(tokenizer)
    if not 1 <= num_tokens <= free:
        raise InputError(
            f"expected between 1 and {free} soft tokens, as many as the embedding table has free rows, "
            f"found {num_tokens}; correct model.num_tokens"
        )
    ids = list(range(len(tokenizer), len(tokenizer) + num_tokens))
    model = get_peft_model(llava, TrainableTokensConfig(token_indices=ids, target_modules=["embed_tokens"]))
    ordinary = torch.tensor(sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids)))
    with torch.no_grad():
        if initial_deviation is not None:
            soft_tokens(model).normal_(std=initial_deviation)
            return model
    drawn = ordinary[torch.randint(len(ordinary), (num_tokens,))]
    with torch.no_grad():
        soft_tokens(model).copy_(table[drawn.to(table.device)])
    return model


def soft_tokens(model: PeftModel) -> nn.Parameter:
    """The (P, width) parameter that trains."""
    (parameter,) = (p for name, p in model.named_parameters() if "trainable_tokens_delta" in name)
    return parameter


def prefix_ids_of(folder: str | Path) -> list[int]:
    """The ids of a tuned prefix's soft tokens.

    Raises:
        InputError: nothing there, or an adapter of another kind.
    """
    with pretrained(folder, WHAT) as name:
        return list(PeftConfig.from_pretrained(name).token_indices)


def require_prefix(prefix: str | Path, width: int) -> None:
    """Check a tuned prefix before the language model is loaded.

    Raises:
        InputError: as by `with_prefix`.
    """
    if is_authors_file(prefix):
        authors_prefix(prefix, width)
    else:
        prefix_ids_of(prefix)


def with_prefix(
    llava: LlavaForConditionalGeneration, tokenizer: Any, prefix: str | Path
) -> tuple[LlavaForConditionalGeneration, list[int]]:
    """LLaVA with the soft tokens of a tuned prefix in its embedding table, and their ids; exact, as it sets rows.

    Args:
        llava: the model.
        tokenizer: of the model.
        prefix: folder of a peft adapter, or the `prefix.bin` of DALI's authors.

    Raises:
        InputError: nothing there, another kind of file or folder, or tokens of another width.
    """
    if not is_authors_file(prefix):
        ids = prefix_ids_of(prefix)
        with pretrained(prefix, WHAT) as name:
            return PeftModel.from_pretrained(llava, name).merge_and_unload(), ids
    table = llava.get_input_embeddings().weight
    tokens = authors_prefix(prefix, table.shape[1])
    ids = list(range(len(tokenizer), len(tokenizer) + len(tokens)))
    if ids[-1] >= len(table):
        free = len(table) - len(tokenizer)
        raise InputError(
            f"expected at most {free} soft tokens, LLaVA's free rows, found {len(tokens)} in {prefix}; use LLaVA-1.5"
        )
    with torch.no_grad():
        table[ids] = tokens.to(table)
    return llava, ids


def save_prefix(model: PeftModel, folder: Path) -> None:
    """Write a standard peft adapter."""
    card = folder / "README.md"
    if not card.exists():  # peft would write a form to fill in
        card.write_text("Soft tokens for LLaVA, tuned by DALI's prefix tuning; `peft.PeftModel` loads them.\n")
    model.save_pretrained(folder, save_embedding_layers=False)  # the table is LLaVA's own


def load_prefix(model: PeftModel, folder: Path) -> None:
    """Take the soft tokens of a folder into a model of `trainable_prefix`.

    Raises:
        InputError: no prefix there, or one of other tokens.
    """
    found, expected = prefix_ids_of(folder), model.peft_config["default"].token_indices
    if found != expected:
        raise InputError(
            f"expected soft tokens {expected[0]} to {expected[-1]} in {str(folder)!r}, found {found[0]} to "
            f"{found[-1]}; set model.num_tokens to {len(found)} and model.captioner.llava to theirs"
        )
    set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
