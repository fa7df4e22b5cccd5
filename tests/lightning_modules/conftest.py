"""What tests of the stages share."""

from pathlib import Path

import pytest

from miniature import ensure_split


@pytest.fixture(scope="module")
def captions_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("captions")
    for split in ("audiocaps/train", "audiocaps/val", "audiocaps/test", "wavcaps/train"):
        ensure_split(root / "first-40", split, max_clips=40)
    return root
