"""Exports of the stages that caption, for the tests of the command and of the class."""

import os
from pathlib import Path

import pytest
from conftest import REPOSITORY, arguments

from train import main as train


@pytest.fixture(scope="session")
def exports(world_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of each stage, of one step."""
    folder = tmp_path_factory.mktemp("exports")
    (folder / "assets").symlink_to(REPOSITORY / "assets")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for config in ("audibility", "clap_prefix", "dali_ot"):
            few = ["--data.batch_size", "8", "--trainer.max_steps", "1", "--trainer.max_epochs", "1"]
            if config == "audibility":
                train(["fit", "--config", config, *few])
            else:
                train(["fit", *arguments(world_root, *few, config=f"{config}.yaml")])
    finally:
        os.chdir(before)
    return folder
