"""Small packed splits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.shards import write_shards
from tests.datamodules.made_clips import Media, pack_counts


@pytest.fixture
def uneven(tmp_path: Path) -> tuple[Path, list[str]]:
    """A split of 78 clips in seven uneven shards, and its ids."""
    folder = tmp_path / "corpus" / "uneven"
    folder.mkdir(parents=True)
    return folder, pack_counts(folder, [13, 5, 21, 8, 17, 3, 11])


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Packs {clip id: media} into a split of one shard."""

    def packed(clips: dict[str, Media], name: str = "corpus/clips") -> Path:
        write_shards(tmp_path / name, ((clip_id, media, {}) for clip_id, media in clips.items()), 100)
        return tmp_path / name

    return packed
