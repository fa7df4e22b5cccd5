"""Give wrong commands, configurations, tables, checkpoints and media to the real commands, and note what they say.

    python -m tests.campaigns.bad_input --output docs/results/bad_input.md

Each must end with exit code 2 and one line, soon, and leave nothing behind: no export, no unfinished file, no empty run
folder, no process, and a good command afterwards must do what it did before. Anything else ends the campaign with exit
code 1. A worker process takes one command after the other; it is replaced where one hangs.
"""

import argparse
import contextlib
import hashlib
import io
import logging
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from earshot.atomic import write_text
from earshot.provenance import provenance
from tests.campaigns.time_limit import Hangs, at_most

ROOT = Path(__file__).parents[2]
SECONDS = 60  # after which a command hangs; the machine may be busy


@dataclass(frozen=True)
class Case:
    """A wrong input.

    Attributes:
        area: what kind of input.
        what: is wrong, unique in its area.
        command: arguments of `earshot`.
        prepare: writes files into the folder that the command runs in.
    """

    area: str
    what: str
    command: list[str]
    prepare: Callable[[Path], object] = lambda folder: None


def kept(folder: Path) -> dict[str, str]:
    """A digest of each file outside of runs/, where a command notes that it ran."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.relative_to(folder).parts[0] != "runs"
    }


def state() -> dict[str, object]:
    """What a command must leave as it was."""
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    ours = {name: value for name, value in os.environ.items() if name.startswith(("EARSHOT", "SLURM", "LOCAL_RANK"))}
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return {
        "folder": os.getcwd(), "signals": handlers, "environment": ours,
        "processes": len(children.read_text().split()) if children.exists() else 0,
    }  # fmt: skip


def run(command: list[str]) -> tuple[int | None, str]:
    """Exit code (None after a traceback) and stderr of `earshot` with these arguments."""
    from earshot.__main__ import main

    logging.raiseExceptions = False  # Lightning's handler keeps the stderr of the first command
    err = io.StringIO()
    code: int | None = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with at_most(SECONDS):
                main(command)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        except Hangs:
            code = -1
        except BaseException:
            code = None
            err.write(f"{traceback.format_exc()}\n{' '.join(repr(sys.exc_info()[1]).split())[:300]}")
    return code, err.getvalue()


def judged(case: Case) -> tuple[str, str]:
    """The outcome, "one line" where all is well, and what was said."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, before = Path(temporary), os.getcwd()
        os.chdir(folder)
        try:
            (folder / "assets").symlink_to(ROOT / "assets")
            case.prepare(folder)
            files, was = kept(folder), state()
            code, said = run(case.command)
            lines = said.strip().splitlines()
            last = lines[-1].replace(str(folder), ".").replace(f"{ROOT}/", "") if lines else ""
            if code == -1:
                return "hangs", ""
            if code is None:
                return "traceback", last
            if code != 2:
                return f"exit code {code}", last
            if "Traceback" in said or not ("error: " in last and said.count("error: ") == 1):
                return "not one line", said.replace(str(folder), ".")
            if (now := kept(folder)) != files:
                return "leaves files", ", ".join(sorted(set(now.items()) ^ set(files.items()))[0])
            if left := [path for path in folder.glob("runs/*/*") if not any(path.iterdir())]:
                return "leaves a folder", str(left[0].relative_to(folder))
            if (after := state()) != was:
                return "leaves state", str({key: (was[key], after[key]) for key in was if was[key] != after[key]})
            return "one line", last
        finally:
            os.chdir(before)


def judged_by_name(area: str, what: str) -> tuple[str, str]:
    """As `judged`, for a worker, which knows the cases itself."""
    (case,) = [case for case in all_cases() if (case.area, case.what) == (area, what)]
    return judged(case)


def good() -> str:
    """What a good command makes, as a digest; the same after any number of bad ones."""
    from tests.campaigns.bad_commands import toy

    with tempfile.TemporaryDirectory() as temporary:
        before = os.getcwd()
        os.chdir(temporary)
        try:
            toy(Path(temporary))
            code, said = run(["train", "fit", "--config", "toy.yaml"])
            made = Path("exports/toy/model.safetensors")
            return hashlib.sha256(made.read_bytes()).hexdigest() if made.is_file() else f"exit code {code}: {said}"
        finally:
            os.chdir(before)


def start_worker() -> None:
    """Make a worker quiet, and one that sees the project and its tests."""
    os.environ.update(WANDB_MODE="disabled", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def campaign(cases: list[Case], tell: bool = False) -> list[tuple[Case, str, str]]:
    """All cases in one worker, with a good command before, after every 40 of them, and at the end."""
    found: list[tuple[Case, str, str]] = []
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, context, start_worker)
    first = pool.submit(good).result()
    for number, case in enumerate(cases):
        try:
            how, said = pool.submit(judged_by_name, case.area, case.what).result(timeout=2 * SECONDS)
        except Exception as error:  # it hangs in C, or has died
            how, said = "hangs" if isinstance(error, TimeoutError) else "dies", repr(error)
            for process in list(pool._processes.values()):
                process.kill()
            pool = ProcessPoolExecutor(1, context, start_worker)
        if (number % 40 == 39 or case is cases[-1]) and how == "one line" and pool.submit(good).result() != first:
            how, said = "leaves state", "a good command afterwards did something else"
        found.append((case, how, said))
        if tell and how != "one line":
            print(f"{case.area}, {case.what}: {how}: {said}", flush=True)
    pool.shutdown()
    return found


def table(found: list[tuple[Case, str, str]]) -> str:
    """The page of the results."""
    areas = dict.fromkeys(case.area for case, _, _ in found)
    outcomes = dict.fromkeys(["one line", *(how for _, how, _ in found)])
    lines = [
        "# Wrong input", "",
        f"{len(found)} wrong commands, configurations, tables, checkpoints and media, given to the real commands. One "
        "line: exit code 2, one line of error, no new file, and no trace in the process.", "",
        f"| what is wrong | N | {' | '.join(outcomes)} |", f"|---|---|{'---|' * len(outcomes)}",
    ]  # fmt: skip
    for area in areas:
        counts = Counter(how for case, how, _ in found if case.area == area)
        lines.append(f"| {area} | {counts.total()} | {' | '.join(str(counts[how]) for how in outcomes)} |")
    lines += ["", "## What was said", "", "| | wrong | said |", "|---|---|---|"]
    for case, how, said in found:
        words = said.partition("error: ")[2]
        shown = "".join(f"&#{ord(letter)};" if letter in "|<*_`[" else letter for letter in words)
        lines.append(f"| {case.area} | {case.what} | {shown if how == 'one line' else how} |")
    origin = provenance()
    lines += [
        "", "## How this was measured", "",
        "- each by `earshot` in one process, with a good command before, between and after them whose weights must "
        "stay the same", f"- a command longer than {SECONDS} s counts as a hang",
        "- command: `python -m tests.campaigns.bad_input --output docs/results/bad_input.md`",
        "- versions: " + ", ".join(f"{name} {value}" for name, value in origin.items() if name != "command"),
        f"- date: {date.today()}", "",
    ]  # fmt: skip
    return "\n".join(lines)


@cache
def all_cases() -> list[Case]:
    """Of all areas."""
    from tests.campaigns import bad_checkpoints, bad_commands, bad_tables

    return [*bad_commands.cases(), *bad_checkpoints.cases(), *bad_tables.cases()]


def main() -> None:
    """Run the campaign and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose area and name this regular expression finds")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    start_worker()
    found = campaign([case for case in all_cases() if re.search(options.only, f"{case.area}, {case.what}")], tell=True)
    bad = [case for case, how, _ in found if how != "one line"]
    print(f"{len(found)} wrong inputs, {len(bad)} not refused as they must be")
    if options.output is not None:
        write_text(options.output.absolute(), table(found))
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
