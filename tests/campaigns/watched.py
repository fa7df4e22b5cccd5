"""One attempt at a command: started, watched by the phases that it tells, and killed at a chosen moment."""

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.campaigns.forked import Group
from tests.campaigns.phases import PIPE

START = "start"  # until the stage is told to set up: Python, imports, arguments, construction
UNFINISHED = {  # what stands on disk while a file or folder is being written, by the phase in which that happens
    "checkpoint": "runs/run/*/checkpoints/.*.partial",
    "export": "exports/.run.*.partial",
    "predict_table": "exports/*/.captions.csv.*.partial",
}
HANGS = 1800.0  # seconds; a machine that others use is slow


@dataclass(frozen=True)
class Target:
    """A moment to kill at: `delay` seconds after the start, or after `phase` begins at `step` or later.

    With `file`, once a file or folder of this pattern, not empty, is there in that phase.
    """

    name: str
    delay: float = 0.0
    phase: str = START
    step: int = 0
    file: str | None = None


@dataclass
class Attempt:
    """How it went: the phases told (seconds, name, step), exit codes of its processes, unfinished files it left."""

    events: list[tuple[float, str, int]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0
    hung: bool = False

    @property
    def phase(self) -> str:
        """The last one that was told."""
        return self.events[-1][1] if self.events else START

    def durations(self) -> dict[str, float]:
        """Mean seconds from the beginning of a phase to that of the next one."""
        times = [(0.0, START, 0), *self.events, (self.seconds, "", 0)]
        lengths: dict[str, list[float]] = {}
        for (begin, phase, _), (end, _, _) in zip(times, times[1:]):
            lengths.setdefault(phase, []).append(end - begin)
        return {phase: float(np.mean(found)) for phase, found in lengths.items()}


def attempt(start: Callable[[], Group], folder: Path, target: Target | None) -> Attempt:
    """Start a command in the working folder, and kill it at the target's moment, if it comes before the end."""
    pipe = folder / PIPE
    if not pipe.exists():
        os.mkfifo(pipe)
    told = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    made, text = Attempt(), ""
    group = start()
    armed = group.started if target is not None and target.phase == START else None  # when the phase began

    def listen(seconds: float) -> None:
        nonlocal text, armed
        if select.select([told], [], [], seconds)[0]:
            *lines, text = (text + os.read(told, 65536).decode()).split("\n")
            for phase, step in map(str.split, lines):
                made.events.append((time.monotonic() - group.started, phase, int(step)))
                if target is not None and armed is None and (phase, True) == (target.phase, int(step) >= target.step):
                    armed = time.monotonic()

    try:
        while not group.ended():
            waits_for_file = armed is not None and target is not None and target.file is not None
            listen(0.0005 if waits_for_file else 0.005)
            if waits_for_file and not any(stands(path) for path in folder.glob(target.file)):
                continue
            if armed is not None and time.monotonic() - armed >= target.delay:
                group.kill()
            elif time.monotonic() - group.started > HANGS:
                made.hung = True
                group.kill()
    except BaseException:  # Ctrl-C: nothing goes on alone
        group.kill()
        raise
    listen(0.0)
    os.close(told)
    made.seconds = time.monotonic() - group.started
    made.codes = [group.codes[pid] for pid in group.pids]
    made.left = [str(path.relative_to(folder)) for path in folder.rglob(".*.partial")]
    return made


def stands(path: Path) -> bool:
    """Whether a file with something in it, or a folder, is there still."""
    try:
        return path.is_dir() or path.stat().st_size > 0
    except FileNotFoundError:
        return False


def choose(rng: np.random.Generator, whole: Attempt) -> Target:
    """A moment of an unbroken attempt: at any time, or in a phase, where short phases come as often as long ones."""
    lengths = whole.durations()
    steps = max(step for _, _, step in whole.events)
    if rng.random() < 0.35:
        return Target("any time", rng.uniform(0, whole.seconds))
    names = sorted(set(lengths) - {START, "epoch_start"})
    unfinished = [f"unfinished {phase}" for phase in UNFINISHED if phase in lengths]
    name = str(rng.choice([*names, *unfinished, *unfinished]))  # written in milliseconds
    step = int(rng.integers(0, steps + 1))
    if name.startswith("unfinished "):
        phase = name.removeprefix("unfinished ")
        return Target(name, 0.0, phase, step, UNFINISHED[phase])
    return Target(name, rng.uniform(0, lengths[name]), name, step)
