"""Shared by the tests: quiet libraries, one thread, a small written world."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
MINIATURE = REPOSITORY / "assets" / "miniature"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test seeded, and with no run folder handed on from the one before."""
    monkeypatch.delenv("EARSHOT_RUN_FOLDER", raising=False)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def world_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first clips of the splits that most tests read."""
    from datamodules.miniature import ensure_split

    root = tmp_path_factory.mktemp("world")
    for split in ("audioset/train", "audioset/val", "audiocaps/test"):
        ensure_split(root, split, max_clips=40)
    return root
