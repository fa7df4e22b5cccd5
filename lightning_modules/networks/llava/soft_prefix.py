"""Soft tokens of the prompt as a peft adapter: rows of the embedding table that no token uses (DALI, section 3.1)."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, TrainableTokensConfig, get_peft_model
from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from earshot.errors import InputError
from lightning_modules.networks.authors_checkpoint import check_tensors
from lightning_modules.networks.llava.authors_files import authors_prefix, is_authors_file
from lightning_modules.networks.pretrained import pretrained

WHAT = "a tuned prefix (a peft adapter of trainable tokens)"
DELTA = "trainable_tokens_delta"  # the end of its only tensor's name


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


def tuned_prefix(folder: str | Path, width: int) -> tuple[list[int], Tensor]:
    """The ids of a tuned prefix's soft tokens, and the tokens (P, width).

    Raises:
        InputError: nothing there, an adapter of another kind, or tensors that are missing, left over, of another
            shape or not finite.
    """
    with pretrained(folder, WHAT) as name:
        ids = list(PeftConfig.from_pretrained(name).token_indices)
        if not ids or len(set(ids)) < len(ids) or any(type(number) is not int or number < 0 for number in ids):
            raise ValueError(f"token_indices {ids}")
        weights = load_peft_weights(name, device="cpu")
    name = next((name for name in weights if name.endswith(DELTA)), DELTA)
    check_tensors(weights, {name: torch.empty(len(ids), width, device="meta")}, folder, WHAT)
    (tokens,) = weights.values()
    return ids, tokens


def require_prefix(prefix: str | Path, width: int, rows: int) -> None:
    """Check a tuned prefix before the language model is loaded.

    Args:
        prefix: as of `with_prefix`.
        width: of the table of embeddings.
        rows: of it.

    Raises:
        InputError: as by `with_prefix`.
    """
    if is_authors_file(prefix):
        authors_prefix(prefix, width)
    elif max(ids := tuned_prefix(prefix, width)[0]) >= rows:
        raise InputError(
            f"expected soft tokens below {rows}, the rows of LLaVA's table, found {max(ids)} in {str(prefix)!r}; use "
            "the LLaVA that the prefix was tuned with"
        )


def with_prefix(
    llava: LlavaForConditionalGeneration, tokenizer: Any, prefix: str | Path
) -> tuple[LlavaForConditionalGeneration, list[int]]:
    """LLaVA with the soft tokens of a tuned prefix as rows of its embedding table, and their ids.

    Args:
        llava: the model.
        tokenizer: of the model.
        prefix: folder of a peft adapter, or the `prefix.bin` of DALI's authors.

    Raises:
        InputError: nothing there, another kind of file or folder, or tokens of another width.
    """
    table = llava.get_input_embeddings().weight
    require_prefix(prefix, table.shape[1], len(table))
    if is_authors_file(prefix):
        tokens = authors_prefix(prefix, table.shape[1])
        ids = list(range(len(tokenizer), len(tokenizer) + len(tokens)))
    else:
        ids, tokens = tuned_prefix(prefix, table.shape[1])
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
    found, _ = tuned_prefix(folder, soft_tokens(model).shape[1])
    expected = model.peft_config["default"].token_indices
    if found != expected:
        raise InputError(
            f"expected soft tokens {expected[0]} to {expected[-1]} in {str(folder)!r}, found {found[0]} to "
            f"{found[-1]}; set model.num_tokens to {len(found)} and model.captioner.llava to theirs"
        )
    set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
