"""The file format of WavCaps' CLAP (Mei et al., 2023): a dictionary of `model`, `optimizer`, `config` and `epoch`."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.networks.authors_checkpoint import check_tensors, read_checkpoint, tensors_in
from lightning_modules.networks.clap.htsat import Htsat, transformers_state

WHAT = "WavCaps' CLAP"
WHERE = "the folder of models that github.com/XinhaoMei/WavCaps links: HTSAT-BERT-PT.pt, or the one with CNN14"
AUDIO = "audio_encoder.audio_enc."
TEXT = "text_encoder.text_encoder."
LEFT_OUT = ("temp", AUDIO + "audio_feats_extractor.", TEXT + "embeddings.position_ids")  # fixed, or not for embeddings
BENCHMARKS = ("audiocaps", "clotho")


def read_authors(path: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the checkpoint, and its training data, which were printed.

    Raises:
        InputError: no such file, or another kind of file.
    """
    checkpoint = read_checkpoint(path, WHAT, WHERE)
    if not isinstance(state := checkpoint.get("model"), dict):
        raise InputError(f"expected {WHAT} in {str(path)!r}, found no `model`; download the authors' file again")
    return tensors_in(state), report_training_data(checkpoint.get("config"), path)


def report_training_data(config: Any, path: str | Path) -> list[str]:
    """Print what the model was trained on; warn where that holds a benchmark, whose test would then be no test."""
    data = list(dict.fromkeys(data_files(config)))
    if not data:
        return data
    print(f"{path} was trained on {', '.join(data)}", flush=True)
    leaks = [name for name in BENCHMARKS if any(name in entry.lower() for entry in data)]
    if leaks:
        warnings.warn(
            f"{path} was trained on {' and '.join(leaks)}: scores there are not those of a model that never saw pairs",
            stacklevel=2,
        )
    return data


def data_files(config: Any) -> Iterator[str]:
    """Texts in a nested configuration that name a table of data, a data set, or a benchmark in any other way."""
    if isinstance(config, dict):
        yield from (str(config[key]) for key in ("dataset",) if isinstance(config.get(key), str))
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from data_files(value)
    elif isinstance(config, str) and (
        config.endswith((".json", ".csv")) or any(name in config.lower() for name in BENCHMARKS)
    ):
        yield config


def load_authors(encoder: nn.Module, found: dict[str, Tensor], path: str | Path) -> None:
    """Copy the authors' tensors into a `ClapEncoder`; every name must be there, and none left over.

    Raises:
        InputError: a name missing, left over, or of the wrong shape.
    """
    found = {name: value for name, value in found.items() if not name.startswith(LEFT_OUT)}
    audio = {name.removeprefix(AUDIO): found.pop(name) for name in list(found) if name.startswith(AUDIO)}
    if isinstance(encoder.audio_encoder, Htsat):
        audio = {f"model.{name}": value for name, value in transformers_state(audio).items()}
    ours = {f"audio_encoder.{name}": value for name, value in audio.items()}
    ours |= {name.replace(TEXT, "text_encoder."): value for name, value in found.items()}
    expected = encoder.state_dict()
    fixed = ("num_batches_tracked", "relative_position_index")  # counters and constants, which may be missing
    required = {name: value for name, value in expected.items() if name in ours or not name.endswith(fixed)}
    check_tensors(ours, required, path, WHAT)
    encoder.load_state_dict(ours, strict=False)
