"""Shared by the tests: quiet libraries, one thread, a small written world."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")  # its tests turn it on
os.environ["SLURM_CONF"] = os.devnull  # Snakemake waits 10 s at every start for a SLURM that does not answer

import pytest
import torch

pytest_plugins = ["chromium", "made_captions", "toy_command"]

REPOSITORY = Path(__file__).resolve().parents[1]
MINIATURE = REPOSITORY / "assets" / "miniature"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Each test seeded, and with no run folder handed on to the next one, nor to a fixture of several tests.

    Nor the port at which its ranks met, which Lightning leaves: another process may have it by then.
    """
    torch.manual_seed(0)
    yield
    for name in ("EARSHOT_RUN_FOLDER", "MASTER_PORT"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def world_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first clips of the splits that most tests read."""
    from miniature import ensure_split

    root = tmp_path_factory.mktemp("world")
    for split in ("audioset/train", "audioset/val", "audiocaps/train", "audiocaps/test"):
        ensure_split(root / "first-40", split, max_clips=40)
    return root


def arguments(world_root: Path, *more: str, config: str = "dali_ot.yaml") -> list[str]:
    """A command on the small world, for tests `in_tmp_path`."""
    return [
        "--config", str(REPOSITORY / "configs" / config),
        "--data.root", str(world_root), "--data.max_clips", "40", "--data.num_workers", "0",
        "--trainer.accelerator", "cpu",
        *more,
    ]  # fmt: skip


@pytest.fixture()
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run commands in, with the assets that the YAML names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path))  # no Java files there: its metrics have their own tests
    (tmp_path / "assets").symlink_to(REPOSITORY / "assets")
    return tmp_path
