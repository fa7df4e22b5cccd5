"""The memory of an export: what is nearest, and that a file holds all of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from lightning_modules.embeddings.memory import FILE, Memory


def test_nearest_are_those_of_a_plain_search_and_each_text_comes_once(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(40, 8, generator=generator) * torch.rand(40, 1, generator=generator)
    texts = [f"caption {row % 13} – “ü”" for row in range(40)]
    Memory(embeddings, texts).save(tmp_path)
    memory = Memory.load(tmp_path)
    assert memory is not None and memory.texts == texts and torch.equal(memory.embeddings, embeddings)
    audio = torch.randn(3, 8, generator=generator)
    found = memory.nearest(audio, 4)
    for row, near in zip(audio.numpy(), found):
        cosines = [float(row @ each / np.linalg.norm(row) / np.linalg.norm(each)) for each in embeddings.numpy()]
        best = {text: max(c for c, t in zip(cosines, texts) if t == text) for text in texts}
        expected = sorted(best.items(), key=lambda pair: -pair[1])[:4]
        assert [text for text, _ in near] == [text for text, _ in expected]
        np.testing.assert_allclose([value for _, value in near], [value for _, value in expected], atol=1e-6)


def test_exports_of_earlier_versions(tmp_path: Path) -> None:
    assert Memory.load(tmp_path) is None
    save_file({"embeddings": torch.eye(3)}, tmp_path / FILE)
    memory = Memory.load(tmp_path)
    assert memory is not None and memory.nearest(torch.ones(2, 3)) == [[], []]


def test_captions_are_brought_to_norm_1_once_for_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    normalize, lengths = F.normalize, []
    monkeypatch.setattr(F, "normalize", lambda x, dim: lengths.append(len(x)) or normalize(x, dim=dim))
    memory = Memory(torch.eye(40), [f"caption {row}" for row in range(40)])
    found = [memory.nearest(torch.eye(40)[row : row + 3], 1)[0][0][0] for row in (0, 5, 9)]
    assert found == ["caption 0", "caption 5", "caption 9"]
    assert lengths.count(40) == 1 and lengths.count(3) == 3
    assert len(memory.nearest(torch.eye(40), 50)[0]) == 40  # no more than there are


def test_half_precision_around_it_changes_nothing() -> None:
    near = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)) + 0.05 * torch.randn(
        300, 64, generator=torch.Generator().manual_seed(1)
    )
    memory = Memory(near[:200], [f"caption {row}" for row in range(200)])
    whole = memory.nearest(near[200:])
    with torch.autocast("cpu", torch.bfloat16):
        assert memory.nearest(near[200:]) == whole
