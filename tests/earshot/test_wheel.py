"""A wheel in an environment of its own trains from any folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_trains_from_any_folder(tmp_path: Path) -> None:
    source, wheels, place = tmp_path / "source", tmp_path / "wheels", tmp_path / "place"
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines()
    for name in filter(lambda name: (ROOT / name).is_file(), files):  # not in the checkout: builds leave files behind
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "wheel", source, *options, "--wheel-dir", wheels, folder=tmp_path)
    (wheel,) = wheels.glob("earshot-*.whl")

    python, site = (
        tmp_path / "bin" / "python",
        tmp_path / "lib" / Path(sysconfig.get_path("purelib")).relative_to(Path(sysconfig.get_path("data")) / "lib"),
    )
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path, folder=tmp_path)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # all that is there but links to checkouts
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, folder=tmp_path)
    place.mkdir()
    (place / "train.py").write_text("raise SystemExit('the wrong module')")
    where = run(
        python, "-c", "import earshot, train, callbacks as c; print(earshot.__file__, c.__file__)", folder=wheels
    )
    assert str(ROOT) not in where

    small = ("--data.max_clips", 8, "--data.batch_size", 4, "--trainer.max_epochs", 1, "--trainer.accelerator", "cpu")
    earshot = tmp_path / "bin" / "earshot"
    run(earshot, "train", "fit", "--config", "dali_ot", "--config", "criterion/mmd", *small, folder=place)
    (export,) = place.glob("exports/*/model.safetensors")
    assert f"{site}/earshot/assets/miniature/llava" in (export.parent / "README.md").read_text()
