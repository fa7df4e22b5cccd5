"""A disk that is full at any moment of a run, or read-only: one line, nothing half, a retry that ends identical."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.campaigns.bad_commands import CONFIG
from train import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a disk, which takes root"),
]
CONFIG = CONFIG | {"trainer": CONFIG["trainer"] | {"max_epochs": 2}}
COMMAND = ["fit", "--config", "toy.yaml", "--ckpt_path", "resume"]
KB = 1024


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder is a disk of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs: {mounted.stderr.decode()}")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (folder / "toy.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(folder)
    yield folder
    monkeypatch.chdir(tmp_path)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run leaves that had room."""
    folder = tmp_path_factory.mktemp("unbroken")
    before = Path.cwd()
    os.environ["WANDB_MODE"] = "disabled"
    os.chdir(folder)
    try:
        Path("toy.yaml").write_text(yaml.safe_dump(CONFIG))
        main(COMMAND)
        return left()
    finally:
        os.chdir(before)


def left() -> dict[str, object]:
    """Weights, optimizer, metrics and export of the run; a failed one may have left a folder without checkpoints."""
    folder = max(Path("runs/toy").glob("fit-?/checkpoints/last.ckpt")).parents[1]
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return {
        "metrics": [list(map(ord, line)) for line in (folder / "metrics.csv").read_text().splitlines()],
        **{key: last[key] for key in ("global_step", "state_dict", "optimizer_states")},
        "export": load_file("exports/toy/model.safetensors"),
    }


def fails(said: str, capsys: pytest.CaptureFixture[str], command: list[str] = COMMAND) -> None:
    """The command ends with one line that says so."""
    with pytest.raises(SystemExit) as ended:
        main(command)
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 2 and len(lines) == 1 and said in lines[0], err


@pytest.mark.parametrize("free", [0, 4, 8, 12, 16, 20, 24, 28, 32])
def test_a_full_disk(free: int, disk: Path, unbroken: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it is full: config.yaml, metrics.csv, best.ckpt, last.ckpt or the export."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - free * KB))
    fails("No space left on device; make room", capsys)
    assert not list(disk.rglob("*.partial"))
    for path in disk.rglob("*.ckpt"):
        assert "state_dict" in torch.load(path, weights_only=True), "whole"
    assert not Path("exports/toy").exists()
    filler.unlink()
    main(COMMAND)
    torch.testing.assert_close(left(), unbroken, rtol=0, atol=0)


def test_a_full_disk_keeps_the_export_that_is_there(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(COMMAND)
    before = Path("exports/toy/model.safetensors").read_bytes()
    shutil.rmtree("runs")
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 28 * KB))
    fails("No space left on device", capsys, [*COMMAND, "--seed_everything", "7"])
    assert Path("exports/toy/model.safetensors").read_bytes() == before


def test_a_read_only_disk(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(COMMAND)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    fails("expected to write to runs/toy/fit-1/, found it read-only; choose another", capsys)
    fails("found: Read-only file system; make room or choose another", capsys, ["test", "--config", "toy.yaml"])


@pytest.mark.parametrize("free", [0, 4])
def test_scores_on_a_full_disk(free: int, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from evaluation.__main__ import main as score

    rows = "".join(f'c{number},rain on a roof,"[""it rains""]"\n' for number in range(400))
    (disk / "x.csv").write_text("clip_id,caption,references\n" + rows)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - free * KB))
    with pytest.raises(SystemExit) as ended:
        score(["x.csv", "--no-java"])
    assert ended.value.code == 2 and "No space left on device; make room" in capsys.readouterr().err
    assert sorted(path.name for path in disk.iterdir() if path.stat().st_size) == ["filler", "toy.yaml", "x.csv"]
