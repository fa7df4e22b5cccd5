"""The file of embeddings: whole or not there, whatever ends the writing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from earshot.errors import InputError
from lightning_modules.embeddings.cache import cached, write_cache


def test_whole_or_not_there(tmp_path: Path) -> None:
    path, table = tmp_path / "x.f32", torch.randn(10, 4)
    assert cached(path, (10, 4)) is None
    order = torch.randperm(10)
    write_cache(path, (10, 4), ((rows, table[rows]) for rows in order.split(3)))
    assert torch.equal(cached(path, (10, 4)), table) and cached(path, (11, 4)) is None
    with pytest.raises(RuntimeError):
        write_cache(tmp_path / "y.f32", (10, 4), killed_after_one())
    assert [p.name for p in tmp_path.iterdir()] == ["x.f32"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected room for 0.0 MB of embeddings in .*; give another folder"):
        write_cache(tmp_path / "file" / "x.f32", (10, 4), [])


def killed_after_one() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    yield torch.tensor([0]), torch.zeros(1, 4)
    raise RuntimeError("killed")
