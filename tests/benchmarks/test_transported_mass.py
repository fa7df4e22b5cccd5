"""The probe of which image tokens get mass, on closed forms and on a run of two steps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, arguments
from made_tokens import tokens

from benchmarks import transported_mass
from earshot.errors import InputError
from lightning_modules.losses.mmd import MMD
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.partial_transport import PartialTransport
from lightning_modules.losses.without_background import WithoutBackground
from train import main

OVERLAY = ("--config", str(REPOSITORY / "configs/criterion/attentive_ot_centred.yaml"))


def test_mass_is_what_the_criterion_moves() -> None:
    audio, image = tokens(2, 6, 8), tokens(2, 5, 8, seed=1)
    image[:, 4] += 50
    even = torch.full((2, 5), 0.2, dtype=torch.float64)
    for criterion in (OptimalTransport(), MMD()):
        torch.testing.assert_close(transported_mass.mass_to(criterion, audio, image), even)
    partial = OptimalTransport(PartialTransport(0.8))
    expected = even.clone()
    expected[:, 4] = 0  # the far token is what is left out
    torch.testing.assert_close(transported_mass.mass_to(partial, audio, image), expected)
    shifted = transported_mass.mass_to(WithoutBackground(partial), audio + 20, image)
    torch.testing.assert_close(shifted, transported_mass.mass_to(WithoutBackground(partial), audio, image))


def test_distance_of_one_audio_token() -> None:
    audio, image = tokens(2, 1, 8), tokens(2, 5, 8, seed=1)
    expected = (audio - image).square().sum(dim=2)
    torch.testing.assert_close(transported_mass.distance_to(audio, image), expected)


def test_means_leave_out_clips_without_the_kind() -> None:
    values, chosen = np.array([[1.0, 3.0], [7.0, 9.0], [5.0, 5.0]]), np.array([[1, 1], [0, 1], [0, 0]], bool)
    assert transported_mass.mean_over(values, chosen).value == (2 + 9) / 2


def test_an_overlays_criterion() -> None:
    partial = transported_mass.criterion_of(REPOSITORY / "configs/solver/partial.yaml")
    assert isinstance(partial, OptimalTransport) and partial.solver.mass == 0.8
    with pytest.raises(InputError, match="expected a criterion that learns nothing, found .*AttentiveOptimalTransport"):
        transported_mass.criterion_of(REPOSITORY / "configs/criterion/attentive_ot.yaml")
    with pytest.raises(InputError, match=r"expected a YAML with model.init_args.criterion, found none in .*image.yaml"):
        transported_mass.criterion_of(REPOSITORY / "configs/inputs/image.yaml")


def test_a_short_run(in_tmp_path: Path, world_root: Path, capsys) -> None:
    short = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")
    main(["fit", *arguments(world_root, *OVERLAY, *short)])
    transported_mass.main(["runs/dali_attentive_ot_centred", "--clips", "12", "--output", "mass.md",
                           "--overlay", str(REPOSITORY / "configs/solver/partial.yaml")])  # fmt: skip
    page = Path("mass.md").read_text()
    assert "| dali_attentive_ot_centred | 1.000 | 1.0" in page and "N = 12" in page and "mass on what sounds" in page
    assert "| dali_attentive_ot_centred, partial | 0.800 | " in page
