"""Where a run lives: runs/<run_name>/<subcommand>-<n>/, one folder for all ranks."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.plugins.environments import SLURMEnvironment

from callbacks import one_at_a_time
from callbacks.checkpoint_file import read_checkpoint_file
from earshot.atomic import remove_left_behind
from earshot.errors import InputError

ROOT = Path("runs")
HANDED_ON = "EARSHOT_RUN_FOLDER"  # by which rank 0 tells its folder to the ranks that it starts


@contextmanager
def hand_over() -> Iterator[None]:
    """Forget the folder when the command ends; remove it if the command failed before writing to it."""
    try:
        yield
    finally:
        folder = os.environ.pop(HANDED_ON, None)
        if folder is not None:
            one_at_a_time.give_back(Path(folder))
            with suppress(OSError):  # not empty
                Path(folder).rmdir()


def open_run(run_name: str, subcommand: str, ckpt_path: str | None, run_suffix: str = "") -> tuple[Path, Path | None]:
    """The folder of this run, which is made if it is new, and the checkpoint to start from.

    `run_suffix` is added to the names of the folders of test and predict, not to those of fit.

    `last` and `best` are those of the newest fit run of this name, never an older one's; `fit` resumes from `last` in
    the folder of that run. `resume`, of `fit` alone, is `last` where there is one, and a new run where there is none.
    A SLURM job that was requeued takes its own, whatever `ckpt_path` it began with. Every rank gets the same folder:
    rank 0 tells the ranks that it starts; under SLURM the folder is named by the job id, which a requeued job keeps,
    with a number behind it where a job of one task has had this folder already, as in a loop without `srun`.

    Raises:
        InputError: the checkpoint is not there, another command trains in the folder, or ranks were started from
            outside without a common folder.
    """
    for what, name in (("run_name", run_name), ("run_name with its run_suffix", run_name + run_suffix)):
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            raise InputError(
                f"expected a {what} of letters, digits, '.', '_' and '-', found {name!r}; "
                "set it in the YAML or with --run_name"
            )
    requeued = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    own = own_checkpoint(run_name)
    if subcommand == "fit" and requeued and own:
        ckpt_path = "last"
    if ckpt_path == "resume" and subcommand == "fit":
        ckpt_path = "last" if own or newest_checkpoint(run_name, "last")[0] else None
    checkpoint = find_checkpoint(run_name, ckpt_path) if ckpt_path else None
    run_name += run_suffix if subcommand in ("test", "predict") else ""
    if subcommand == "fit" and ckpt_path == "last":
        assert checkpoint is not None
        folder = checkpoint.parent.parent
    elif HANDED_ON in os.environ:
        folder = Path(os.environ[HANDED_ON])
    elif SLURMEnvironment.detect():
        folder = ROOT / run_name / slurm_folder(subcommand)
        if os.environ["SLURM_NTASKS"] == "1" and folder.exists():
            folder = new_folder(folder.parent, folder.name)
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        raise InputError(
            f"expected {HANDED_ON} to name one folder for all ranks, found it unset under torchrun; "
            f"do export {HANDED_ON}={ROOT / run_name / subcommand}-1"
        )
    else:
        folder = new_folder(ROOT / run_name, subcommand)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise InputError(f"expected to write to {folder}/, found it read-only; choose another working folder")
    first = all(os.environ.get(rank, "0") == "0" for rank in ("RANK", "SLURM_PROCID"))  # torchrun's, SLURM's
    if subcommand == "fit" and first and HANDED_ON not in os.environ:
        one_at_a_time.take(folder)
        for checkpoints in folder.parent.glob("fit-*/checkpoints"):  # of runs that were killed in their first save
            for name in ("last", "best"):
                remove_left_behind(checkpoints / f"{name}.ckpt")
    os.environ[HANDED_ON] = str(folder)
    return folder, checkpoint


def new_folder(parent: Path, name: str) -> Path:
    """Make the folder <name>-<n> of the next n; two runs that start at the same time get two folders."""
    numbers = [re.fullmatch(rf"{name}-(\d+)", path.name) for path in parent.glob(f"{name}-*")]
    n = 1 + max((int(number[1]) for number in numbers if number), default=0)
    while True:
        folder = parent / f"{name}-{n}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            n += 1


def newest_checkpoint(run_name: str, name: str, *of: str) -> tuple[Path | None, Path | None]:
    """The checkpoint of a name in the newest fit run of a run name, and that run's folder; None where there is none.

    `of` are patterns of the folders' names; all fit runs by default.

    The newest is the one that began, was resumed or saved last. An older one's checkpoint is never taken instead.
    """
    found = (folder for pattern in of or ("fit-*",) for folder in (ROOT / run_name).glob(pattern))
    runs = [folder for folder in found if folder.is_dir()]
    if not runs:
        return None, None
    newest = max(runs, key=lambda folder: max(path.stat().st_mtime for path in touched(folder)))
    path = newest / "checkpoints" / f"{name}.ckpt"
    return path if path.is_file() else None, newest


def touched(folder: Path) -> list[Path]:
    """What a run writes when it begins, is resumed, and saves."""
    files = (folder / "config.yaml", folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "best.ckpt")
    return [path for path in files if path.is_file()] or [folder]


def own_checkpoint(run_name: str) -> Path | None:
    """The last one of the newest fit run in the SLURM job which this process is of, if there is one."""
    if not SLURMEnvironment.detect():
        return None
    name = slurm_folder("fit")
    return newest_checkpoint(run_name, "last", name, f"{name}-*")[0]


def slurm_folder(subcommand: str) -> str:
    """The name of the folder of a command in a SLURM job; steps (`srun`) after the first have their numbers in it."""
    step = os.environ.get("SLURM_STEP_ID", "")
    later = f"_{step}" if step.isdecimal() and 0 < int(step) < 2**30 else ""  # SLURM's own steps have higher ones
    return f"{subcommand}-slurm{os.environ['SLURM_JOB_ID']}{later}"


def find_checkpoint(run_name: str, ckpt_path: str) -> Path:
    """The file that `ckpt_path` means: a path, or `last` or `best` of the newest fit run of this name."""
    if ckpt_path in ("last", "best"):
        if ckpt_path == "last" and (own := own_checkpoint(run_name)):
            return own
        found, newest = newest_checkpoint(run_name, ckpt_path)
        if found:
            return found
        older = sorted((ROOT / run_name).glob(f"fit-*/checkpoints/{ckpt_path}.ckpt"))
        raise InputError(
            f"expected {newest or ROOT / run_name / 'fit-<n>'}/checkpoints/{ckpt_path}.ckpt, found none; "
            + (
                f"name that of an older run, as in --ckpt_path {older[-1]}, or give no --ckpt_path"
                if older
                else "start with `python train.py fit` and no --ckpt_path"
            )
        )
    checkpoint = Path(ckpt_path)
    if not checkpoint.is_file():
        raise InputError(
            f"expected a checkpoint, found no file {ckpt_path}; "
            f"give one from {ROOT}/<run_name>/fit-<n>/checkpoints/, `last` or `best`"
        )
    read_checkpoint_file(checkpoint, weights=False)  # before networks are loaded
    return checkpoint
