"""The command `earshot`: verbs, a quick start, and a working folder whose files replace nothing."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from earshot import __version__
from earshot.__main__ import VERBS, main

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "train.py")
CONSOLE_SCRIPT = f"""
import sys
from importlib.machinery import PathFinder
class Editable:  # as setuptools': asked for what is not found on sys.path, where the checkout is not
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if path else PathFinder.find_spec(name, [{str(ROOT)!r}])
sys.path.remove({str(ROOT)!r})
sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Editable)
from earshot.__main__ import main
main()
"""


def run(*command: str, folder: Path) -> tuple[subprocess.CompletedProcess, float]:
    """Run python in a folder; the process, and its CPU seconds."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = used()
    done = subprocess.run([sys.executable, *command], env=environment, cwd=folder, capture_output=True, text=True)
    return done, used() - before


@pytest.mark.parametrize(
    "command",
    [
        (TRAIN, "--help"),
        (TRAIN, "fit", "--help"),
        ("-m", "earshot", "--help"),
        *(("-m", "earshot", verb, "--help") for verb in VERBS),
    ],
    ids=lambda command: " ".join(Path(part).name for part in command),
)
def test_help_is_quick(command: tuple[str, ...], tmp_path: Path) -> None:
    done, seconds = run(*command, folder=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
    assert seconds < 3  # 2 on a quiet machine


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {verb} " in said and sentence in said for verb, (_, sentence) in VERBS.items())
    main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    assert ended.value.code == 2
    assert (
        "expected one of caption, app, train, prepare, score, report, push, miniature, found 'trian'"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(("verb", "module"), [("train", "train"), ("score", "evaluation")])
def test_nor_do_they_in_an_editable_install(verb: str, module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("raise SystemExit('the wrong module')")
    done, _ = run("-P", "-c", CONSOLE_SCRIPT, verb, "--help", folder=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr


@pytest.mark.slow
def test_files_of_the_working_folder_replace_no_module(tmp_path: Path) -> None:
    for name in ("train", "errors", "callbacks", "evaluation", "datamodules"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    done, _ = run("-m", "earshot", "train", "fit", "--config", "missing", folder=tmp_path)
    assert done.returncode == 2 and "File does not exist" in done.stderr
    (tmp_path / "mine.py").write_text("from tests.toys import ToyStage\nclass Mine(ToyStage): ...")
    model = ("--model", "mine.Mine", "--data", "tests.toys.ToyData", "--print_config")
    done, _ = run("-m", "earshot", "train", "fit", *model, folder=tmp_path)
    assert "class_path: mine.Mine" in done.stdout, done.stderr
