"""The file of embeddings: whole or not there, whatever ends the writing."""

from pathlib import Path

import pytest
import torch

from earshot.errors import InputError
from lightning_modules.embeddings.cache import cached, new_cache


def test_whole_or_not_there(tmp_path: Path) -> None:
    path, expected = tmp_path / "x.f32", torch.randn(10, 4)
    assert cached(path, (10, 4)) is None
    with new_cache(path, (10, 4)) as table:
        for rows in torch.randperm(10).split(3):
            table[rows] = expected[rows]
    assert torch.equal(cached(path, (10, 4)), expected) and cached(path, (11, 4)) is None
    with pytest.raises(RuntimeError), new_cache(tmp_path / "y.f32", (10, 4)) as table:
        table[0] = 1
        raise RuntimeError("killed")
    assert [p.name for p in tmp_path.iterdir()] == ["x.f32"]
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="expected room for 0.0 MB of embeddings in .*; give another folder"),
        new_cache(tmp_path / "file" / "x.f32", (10, 4)),
    ):
        pass
