"""Digests of what decides a network's results, so that results on disk are told apart by what made them."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from earshot.digests import LENGTH, path_digest
from lightning_modules.contracts import Module


def files_digest(folder: str | Path) -> str | None:
    """A digest of the files in a folder, or of a file; of a hub id the commit of the copy in the cache, where there is
    one. Where a run left the files and what it logged do not count."""
    path = Path(folder)
    return path_digest(path) if path.exists() else hub_commit(str(folder).removeprefix("hf://"))


def hub_commit(name: str) -> str | None:
    """The commit of a model of the Hugging Face Hub that is in the cache; None where none is."""
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # no hub id
        return None
    return f"commit {Path(config).parent.name}" if isinstance(config, str) else None


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """A digest of weights, whatever device and precision they are in."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().view(-1).numpy().data)
    return digest.hexdigest()[:LENGTH]


def module_digest(module: Module) -> str:
    """A digest of a module: its class, the settings in its public attributes, those of its submodules, the weights."""
    digest = hashlib.sha256(weights_digest(module.state_dict()).encode())
    for name, part in module.named_modules():
        digest.update(json.dumps([name, *_description(part)], sort_keys=True, default=_as_json).encode())
    return f"{type(module).__name__} {digest.hexdigest()[:LENGTH]}"


def tokenizer_json(tokenizer: PreTrainedTokenizerFast) -> str:
    """Everything that decides how a tokenizer splits a text; truncation and padding are those of its last call."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps(backend | {"truncation": None, "padding": None})


def _description(thing: object) -> Iterator[Any]:
    """The class of an object, and its settings; modules within a module are described on their own."""
    yield type(thing).__qualname__
    for name, value in sorted(vars(thing).items()):
        if not name.startswith("_") and name != "training" and not isinstance(value, nn.Module):
            yield name, value


def _as_json(value: object) -> Any:
    """What stands for a value that JSON has no form of."""
    if isinstance(value, Tensor):
        return weights_digest({"": value})
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, PreTrainedTokenizerFast):
        return tokenizer_json(value)
    if isinstance(value, type) or inspect.isroutine(value):
        return value.__qualname__
    return list(_description(value)) if hasattr(value, "__dict__") else repr(value)
