"""A chain that `kill -9` ends, started again: the same files as an unbroken one, and nothing finished done twice."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY
from safetensors.torch import load_file

from miniature import ensure_split

SMALL = "--data.max_clips 40 --data.num_workers 0 --data.batch_size 16 --trainer.accelerator cpu --evaluation.shown 0"
SMALL += " --trainer.log_every_n_steps 1"
SHORTER = {"dali_ot": ("max_epochs: 6", "max_epochs: 3"), "llava_prefix": ("max_steps: 150", "max_steps: 6")}
SLOW = " --trainer.callbacks+=slow_callback.Slow"
ALIGNED, SEED = "attentive_ot", "_seed42"
TARGETS = ("runs/logs/examples.done", f"runs/audiocaps_{ALIGNED}_distilled{SEED}/tested")


@pytest.fixture()
def project(tmp_path_factory: pytest.TempPathFactory, world_root: Path) -> Callable[[], Path]:
    """Makes a folder to run the graph in, with the splits of the small world written."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("project")
        (folder / "assets").symlink_to(REPOSITORY / "assets")
        shutil.copytree(REPOSITORY / "configs", folder / "configs")
        for name, change in SHORTER.items():
            config = folder / "configs" / f"{name}.yaml"
            text = config.read_text()
            assert change[0] in text
            config.write_text(text.replace(*change))
        ensure_split(world_root / "first-40", "audioset/balanced", max_clips=40)
        (folder / "data" / "miniature").mkdir(parents=True)
        (folder / "data" / "miniature" / "first-40").symlink_to(world_root / "first-40")
        return folder

    return make


def start(folder: Path, targets: tuple[str, ...], extra: str = "") -> subprocess.Popen[bytes]:
    """The graph, in a process group of its own."""
    places = [str(REPOSITORY), str(REPOSITORY / "tests")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "AAC_METRICS_CACHE_PATH": str(folder)}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "pipelines" / "Snakefile")]
    return subprocess.Popen(
        [*command, *targets, "--cores", "1", "--config", "quick=1", f"extra={SMALL + extra}"],
        cwd=folder,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(folder: Path, targets: tuple[str, ...]) -> str:
    """Run to the end; what was printed."""
    process = start(folder, targets)
    shown = process.communicate()[0].decode()
    assert process.returncode == 0, shown
    return shown


def kill_when(folder: Path, targets: tuple[str, ...], pattern: str, extra: str = SLOW) -> None:
    """Start the graph, and kill all of it once a file that is not empty, or a folder, fits the pattern."""
    process = start(folder, targets, extra)
    while not any(path.is_dir() or path.stat().st_size for path in folder.glob(pattern)):
        assert process.poll() is None, (process.communicate()[0] or b"").decode()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def logged(run: Path) -> list[dict[str, str]]:
    """What a training logged; of the epochs Lightning counts one more where `max_steps` ends a resumed training."""
    (file,) = run.glob("fit-*/metrics.csv")
    with open(file) as opened:
        return [
            {key: row[key] for key in row if key not in ("epoch", "train/solver_seconds")}
            for row in csv.DictReader(opened)
        ]


def assert_same_fit(broken: Path, whole: Path, run: str) -> None:
    """One run folder, the same curve, the same weights."""
    assert logged(broken / "runs" / run) == logged(whole / "runs" / run)
    (found,) = (broken / "exports" / run).glob("*.safetensors")
    ours, theirs = load_file(found), load_file(whole / "exports" / run / found.name)
    assert ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in ours)


@pytest.mark.slow
def test_a_killed_fit_goes_on(project: Callable[[], Path]) -> None:
    run = f"dali_ot{SEED}"
    target = (f"exports/{run}/provenance.json",)
    whole, broken = project(), project()
    finish(whole, target)
    kill_when(broken, target, f"runs/{run}/fit-1/checkpoints/last.ckpt")
    assert not (broken / target[0]).exists()
    shown = finish(broken, target)
    assert "--ckpt_path last" in shown
    assert_same_fit(broken, whole, run)
    assert "Nothing to be done" in finish(broken, target)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_chain_killed_in_each_kind_of_step(project: Callable[[], Path]) -> None:
    whole, broken = project(), project()
    finish(whole, TARGETS)
    fits = [f"llava_prefix{SEED}", f"dali_{ALIGNED}{SEED}", f"distillation_{ALIGNED}{SEED}"]
    tests = [f"audiocaps_{ALIGNED}{SEED}", f"audiocaps_{ALIGNED}_distilled{SEED}"]
    pseudo = f"pseudo_captions_{ALIGNED}{SEED}"
    for run in fits[:2]:
        kill_when(broken, TARGETS, f"runs/{run}/fit-1/checkpoints/last.ckpt")
    kill_when(broken, TARGETS, f"exports/{pseudo}/parts-*/rank-0.jsonl")
    kill_when(broken, TARGETS, f"runs/{fits[2]}/fit-1/checkpoints/last.ckpt")
    for run in tests:  # each by itself: Snakemake may begin with either
        kill_when(broken, (f"runs/{run}/tested",), f"runs/{run}/test-1")
    kill_when(broken, TARGETS, "runs/logs/examples.report.log.lock", extra="")
    finish(broken, TARGETS)
    assert_same_files(whole, broken, fits, pseudo, tests)


def assert_same_files(whole: Path, broken: Path, fits: list[str], pseudo: str, tests: list[str]) -> None:
    """Weights, captions and the report; a step that was killed once was begun twice, a fit in one folder."""
    for run in fits:
        assert_same_fit(broken, whole, run)
        assert len(list(broken.glob(f"runs/{run}/fit-*"))) == 1
    assert len(list(broken.glob(f"runs/{pseudo}/predict-*"))) == 2
    assert (broken / f"exports/{pseudo}/captions.csv").read_bytes() == (
        whole / f"exports/{pseudo}/captions.csv"
    ).read_bytes()
    for run in tests:
        assert len(list(broken.glob(f"runs/{run}/test-*"))) == 2
        (ours,), (theirs,) = (
            [scores.with_name("captions.csv") for scores in folder.glob(f"runs/{run}/test-*/scores.json")]
            for folder in (broken, whole)
        )
        assert ours.read_bytes() == theirs.read_bytes()
    reports = [(folder / "runs/examples.md").read_text().splitlines() for folder in (whole, broken)]
    assert [line for line in reports[0] if "|" in line] == [line for line in reports[1] if "|" in line] != []
