"""The spectrum's page, on few pairs, against distances by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MINIATURE

from benchmarks import spectrum
from lightning_modules.contracts import Embedded
from miniature import ensure_split


def test_gap_by_hand() -> None:
    text, audio = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[3.0, 4.0], [2.0, 1.0]])
    assert spectrum.gap(text, audio) == pytest.approx((3.0, np.hypot(1.5, 2.5)))


def test_all_axes_lose_nothing_and_remove_the_means() -> None:
    generator = torch.Generator().manual_seed(2)
    text, audio = torch.randn(30, 4, generator=generator) + 1, torch.randn(30, 4, generator=generator)
    ids = [str(row) for row in range(30)]
    rows = spectrum.measure(Embedded(text, ids), Embedded(audio, ids), (text, audio), [0, 1, 4])
    assert [row["rank"] for row in rows] == [0, 1, 4]
    assert rows[0]["distance"] == pytest.approx((text - audio).norm(dim=1).mean().item())
    assert rows[0]["lost"] == 0 and rows[2]["lost"] == pytest.approx(0, abs=1e-5) and rows[1]["lost"] > 0.1
    assert [row["means"] for row in rows[1:]] == pytest.approx([0, 0], abs=1e-5)
    assert rows[2]["kept"] == pytest.approx(1) and 0.25 < rows[1]["kept"] < 1


def test_the_page_and_the_figure(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("wavcaps/train", "audiocaps/val"):
        ensure_split(in_tmp_path / "world", split, max_clips=20)
    root = ("--root", "world", "--clap", str(MINIATURE / "clap"))
    spectrum.main([*root, "--rank", "5", "--output", "page.md"])
    page = Path("page.md").read_text()
    assert "| none | 100.0% |" in page and "| 5 |" in page and "python -m benchmarks.spectrum --root" in page
    assert Path("page.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit) as ended:
        spectrum.main([*root, "--pairs", "nothing/here"])
    assert ended.value.code == 2 and "nothing/here" in capsys.readouterr().err
