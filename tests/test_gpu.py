"""What only a GPU can show: `pytest -m gpu`."""

import csv
from pathlib import Path

import pytest
import torch
from conftest import arguments

from lightning_modules.losses.optimal_transport import OptimalTransport
from train import main

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transport_on_the_gpu_is_that_on_the_cpu(dtype: torch.dtype) -> None:
    audio, image = torch.randn(4, 64, 32, dtype=dtype), torch.randn(4, 48, 32, dtype=dtype)
    expected, _ = OptimalTransport()(audio, image)
    tokens = audio.cuda().requires_grad_()
    loss, _ = OptimalTransport()(tokens, image.cuda())
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    assert tokens.grad is not None and tokens.grad.isfinite().all()


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
