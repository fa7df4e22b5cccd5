"""The scripts that made the small pretrained models in assets/miniature, one file a model.

The models are of the real classes and see only clips of their own, which are in no split.
"""

import json
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from earshot.atomic import write_text
from earshot.errors import InputError
from miniature.vocabulary import word_list

MODELS = ("llava", "cav_mae", "prefix", "vicuna", "clap", "gpt2", "matcher")  # each after those that it is made from


def make_models(names: Sequence[str], root: Path) -> None:
    """Make the named models in folders of `root`, each from seed 0, and put their scores into scores.json.

    Raises:
        InputError: a name that is none of `MODELS`, or a model is missing that another one is made from.
    """
    if unknown := [name for name in names if name not in MODELS]:
        raise InputError(f"expected models among {', '.join(MODELS)}, found {unknown[0]}; correct it")
    for name in names:
        script = import_module(f"{__name__}.{name}")
        torch.manual_seed(0)
        start = time.process_time()
        (root / name).mkdir(parents=True, exist_ok=True)
        scores = {**script.make(root), "seconds": round(time.process_time() - start)}
        path = root / "scores.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        write_text(path, json.dumps(known | {name: scores}, indent=2) + "\n")
        print(name, json.dumps(scores), flush=True)
    write_text(root / "vocabulary.json", json.dumps(word_list(), indent=2) + "\n")
