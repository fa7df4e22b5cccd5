"""The course is drawn of the same clips in every panel, in a plane that shows what lies between the sides."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import arguments

from callbacks.token_figures import TokenFigures, draw_course, plane, words_of
from train import main


def test_the_plane_is_that_of_the_greatest_variance_between_and_within() -> None:
    """Two sides apart along one axis of ten and spread along another: the plane is these two."""
    rng = np.random.default_rng(0)
    sides = [rng.normal(size=(50, 10)) * 0.01 for _ in range(2)]
    for side, at in zip(sides, (-3, 3)):
        side[:, 4] += at
        side[:, 7] += rng.normal(size=50) * 2
    flat = plane(*sides)
    assert abs(flat[0][:, 0].mean() - flat[1][:, 0].mean()) == pytest.approx(6, abs=0.1)
    spread = np.concatenate([side[:, 7] - side[:, 7].mean() for side in sides])
    drawn = np.concatenate([side[:, 1] - side[:, 1].mean() for side in flat])
    assert abs(np.corrcoef(spread, drawn)[0, 1]) > 0.99


def test_validations_of_different_length_are_drawn_of_the_same_clips(tmp_path: Path) -> None:
    audio, image = torch.zeros(12, 6), torch.ones(12, 6)
    draw_course(tmp_path / "x", "OT", [("first", audio[:5], image[:5]), ("last", audio, image)])
    text = "".join(ElementTree.parse(tmp_path / "x.svg").getroot().itertext())
    assert "N = 5 clips" in text and "first" in text and "last" in text
    assert (tmp_path / "x.png").stat().st_size > 5_000


def test_names() -> None:
    assert words_of("AttentiveOptimalTransport") == "attentive optimal transport"
    assert words_of("MMD") == "MMD" and words_of("Contrastive") == "contrastive learning"
    assert words_of("CauchySchwarz") == "cauchy schwarz"


def test_fit_and_validate_draw(in_tmp_path: Path, world_root: Path, capsys: pytest.CaptureFixture) -> None:
    """Fit draws the course, whose gap is the logged one; validate draws its own; the summary says what is next."""
    short = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")
    main(["fit", *arguments(world_root, *short)])
    said = capsys.readouterr().out
    assert "next    " in said and " test --config" in said and "clips a second" in said
    assert "TPU" not in said and "FLOPs" not in said
    folder = Path("runs/dali_ot/fit-1")
    for name in ("token_means", "tokens", "transport"):
        assert (folder / f"{name}.png").is_file() and (folder / f"{name}.svg").is_file()
    main(["validate", *arguments(world_root)])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  result"))
    gap = float(line.partition("val/modality_gap ")[2].partition(",")[0])
    drawn = (Path("runs/dali_ot/validate-1") / "token_means.svg").read_text()
    assert f"gap {gap:.2f}" in drawn


def test_no_logger_is_no_error(in_tmp_path: Path, world_root: Path) -> None:
    short = ("--trainer.max_steps", "1", "--data.batch_size", "8", "--trainer.limit_val_batches", "1")
    main(["fit", *arguments(world_root, *short, "--trainer.logger", "false")])
    assert not Path("runs/dali_ot/fit-1/metrics.csv").exists()
    assert Path("exports/dali_ot/model.safetensors").is_file()


def test_a_resumed_run_that_ends_before_its_validation_draws_the_course(tmp_path: Path) -> None:
    figures = TokenFigures()
    means = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).half()
    figures.load_state_dict({"history": [("before training: gap 1.00", means, means + 1)]})
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), training=False, loggers=[])
    figures.on_train_end(cast(Any, trainer), cast(Any, SimpleNamespace(criterion=object())))
    assert (tmp_path / "token_means.png").exists() and not (tmp_path / "tokens.png").exists()
