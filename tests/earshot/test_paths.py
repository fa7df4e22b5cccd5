"""Files of the project are found from any folder; those of the working folder come first."""

from pathlib import Path

import pytest

from earshot.errors import command_that_makes
from earshot.paths import config_file, resource

ROOT = Path(__file__).parents[2]


def test_the_working_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resource("configs/dali_ot.yaml") == ROOT / "configs" / "dali_ot.yaml"
    assert config_file("dali_ot") == ROOT / "configs" / "dali_ot.yaml"
    assert config_file("criterion/mmd") == ROOT / "configs" / "criterion" / "mmd.yaml"
    assert resource("assets/none") == config_file("assets/none") == Path("assets/none")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "dali_ot.yaml").touch()
    assert resource("configs/dali_ot.yaml") == config_file("dali_ot") == Path("configs/dali_ot.yaml")
    (tmp_path / "dali_ot").touch()
    assert config_file("dali_ot") == Path("dali_ot")


def test_the_command_that_makes_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_that_makes("exports/llava_prefix") == "python train.py fit --config configs/llava_prefix.yaml"
    assert command_that_makes("exports/other") == "python train.py fit --config CONFIG --run_name other"
