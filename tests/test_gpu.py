"""What only a GPU can show: `pytest -m gpu`."""

import csv
from pathlib import Path

import pytest
import torch
from conftest import arguments

from lightning_modules.losses import earth_mover
from lightning_modules.losses.optimal_transport import OptimalTransport
from train import main

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("many_pairs", [0, 200_000])  # with a shortlist, and without
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transport_on_the_gpu_is_that_on_the_cpu(
    dtype: torch.dtype, many_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earth_mover, "MANY_PAIRS", many_pairs)
    audio, image = torch.randn(4, 300, 32, dtype=dtype), torch.randn(4, 280, 32, dtype=dtype)
    audio[0], image[0] = audio[0, :3].repeat(100, 1), image[0, :7].repeat(40, 1)  # its list is too long
    tokens = {device: audio.to(device).requires_grad_() for device in ("cpu", "cuda")}
    losses = {device: OptimalTransport()(part, image.to(device))[0] for device, part in tokens.items()}
    assert losses["cuda"].item() == pytest.approx(losses["cpu"].item(), rel=1e-3)
    for device, loss in losses.items():
        loss.backward()
        assert tokens[device].grad is not None
    expected, found = (part.grad[1:].float().cpu() for part in tokens.values())  # twins may swap their gradients
    assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_fit_and_predict_in_mixed_precision(precision: str, in_tmp_path: Path, world_root: Path) -> None:
    """Alignment, and prefix tuning, whose gradients come through the whole language model."""
    gpu = ("--trainer.accelerator", "gpu", "--trainer.devices", "1", "--trainer.precision", precision)
    for config, name in (("llava_prefix.yaml", "llava_prefix"), ("dali_ot.yaml", "dali_ot")):
        fit = ("--trainer.max_steps", "4", "--data.batch_size", "8")
        main(["fit", *arguments(world_root, *gpu, *fit, config=config)])
        main(["predict", *arguments(world_root, *gpu, config=config)])
        with open(f"runs/{name}/predict-1/captions.csv") as file:
            assert len(list(csv.DictReader(file))) == 40


def test_ranks_add_their_numbers_by_nccl(in_tmp_path: Path, world_root: Path) -> None:
    """One GPU is a whole group of processes, too: test counts its clips over the ranks."""
    gpu = ("--trainer.accelerator", "gpu", "--trainer.devices", "1", "--trainer.strategy", "ddp")
    main(["test", *arguments(world_root, *gpu, "--export.load", "false", config="dali_ot.yaml")])
    assert Path("runs/dali_ot/test-1/scores.json").is_file()
