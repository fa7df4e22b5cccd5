"""Eq. 2 and the estimate of the noise on cases computed by hand."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from earshot.errors import InputError
from lightning_modules.contracts import Embedded
from lightning_modules.strategies.embedding_shift import EmbeddingShift, modality_gap
from lightning_modules.strategies.noise_injection import NoiseInjection, estimate_sigma


def test_gap_by_hand() -> None:
    audio = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    text = torch.tensor([[-1.0, 0.0], [-1.0, 3.0], [2.0, 0.0]])
    assert modality_gap(audio, text).tolist() == [0.5, 0.0]


def test_sigma_by_hand() -> None:
    """Clip a: differences (1, 0), (3, 4), (2, 4), of L-infinity norm 1, 4, 4; clip c: 0.5. b has one caption."""
    embeddings = torch.tensor([[0.0, 0.0], [9.0, 9.0], [1.0, 0.0], [3.0, 4.0], [0.0, 0.0], [0.5, -0.25]])
    captions = Embedded(embeddings, ["a", "b", "a", "a", "c", "c"])
    assert estimate_sigma(captions) == pytest.approx((1 + 4 + 4 + 0.5) / 4)
    assert estimate_sigma(captions, num_clips=1) == pytest.approx(3)
    with pytest.raises(InputError, match="several captions"):
        estimate_sigma(Embedded(embeddings[:2], ["a", "b"]))


def test_noise_has_the_variance_and_only_in_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert NoiseInjection().variance.item() == pytest.approx(0.013)
    strategy = NoiseInjection(0.04)
    noise = strategy(torch.ones(2000, 50)) - 1
    assert (noise.mean().item(), noise.var().item()) == pytest.approx((0, 0.04), abs=1e-3)
    assert torch.equal(strategy.eval()(torch.ones(2, 3)), torch.ones(2, 3))
    with pytest.raises(InputError, match="at least 0"):
        NoiseInjection(-0.01)
    auto = NoiseInjection("auto", captions="some/split")
    pair = Embedded(torch.tensor([[0.0, 0.0], [0.3, 0.1]]), ["a", "a"])
    auto.prepare(lambda split, num_clips=None: {"some/split": pair}[split], pytest.fail)
    assert auto.variance.item() == pytest.approx(0.09)
    assert "sigma 0.3000, variance 0.09, from some/split" in capsys.readouterr().out


def test_shift_is_the_gap_and_is_kept(tmp_path: Path) -> None:
    audio, text = torch.randn(20, 4) + 1, torch.randn(30, 4)
    strategy = EmbeddingShift("w")
    assert strategy.splits == {"w"}
    strategy.prepare(lambda *_: Embedded(text, []), lambda *_: Embedded(audio, []))
    shifted = strategy.eval()(text)
    torch.testing.assert_close(shifted.mean(0), audio.mean(0))
    torch.testing.assert_close(shifted - text, (audio.mean(0) - text.mean(0)).expand(30, 4))
    torch.testing.assert_close(EmbeddingShift().eval()(text), text)  # before it knows a gap
    again = EmbeddingShift()
    again.load_state_dict(strategy.state_dict())
    assert torch.equal(again.gap, strategy.gap)

    save_file(strategy.state_dict(), tmp_path / "gap.safetensors")
    of_file = EmbeddingShift(path=str(tmp_path / "gap.safetensors"))
    assert not of_file.splits
    of_file.prepare(pytest.fail, pytest.fail)
    assert torch.equal(of_file.gap, strategy.gap)
    (tmp_path / "gap.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="expected a gap in"):
        of_file.prepare(pytest.fail, pytest.fail)
