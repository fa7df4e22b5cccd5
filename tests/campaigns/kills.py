"""`kill -9` of training runs and predictions at random moments: python -m tests.campaigns.kills --kills 200.

Every stage that trains runs on a few clips of the miniature, on 1 and 2 processes. The whole process group is killed,
at any time or in a named phase; the same command with `--ckpt_path resume` goes on, is killed again at times, and ends.
What it then leaves is compared with what an unbroken run leaves. Failures keep their folder and end with exit code 1.
The same command goes on with a campaign that was interrupted; delete the folder to begin anew.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from earshot.atomic import write_text
from earshot.errors import one_line_errors
from earshot.provenance import provenance
from pipelines.preloaded import import_everything
from tests.campaigns import end_state
from tests.campaigns.forked import LOG, Group
from tests.campaigns.kills_page import page
from tests.campaigns.phases import ORDER
from tests.campaigns.small_stages import REPOSITORY, STAGES, write_world
from tests.campaigns.watched import Attempt, attempt, choose

WORLDS = ((1,), (2,), (1, 2), (2, 1))  # processes of the first attempt, of the second, and so on in turn
COLD = 0.12  # so many attempts start Python anew
MOST = {"fit": 4, "predict": 2}  # kills of one run
REFUSED = "as in the checkpoint"


@dataclass
class Kill:
    """One kill: where it was meant to come, where it came, and what it left unfinished on disk."""

    command: str
    stage: str
    ranks: str
    target: str
    phase: str
    cold: bool
    left: list[str]


@dataclass
class Run:
    """A command that was killed and resumed to its end, and how it differs from an unbroken one."""

    number: int
    command: str
    stage: str
    ranks: str
    commit: str
    seconds: float = 0.0
    refused: bool = False
    kills: list[Kill] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Campaign:
    """Runs in folders of their own under `root`, all drawn from one seed; `runs` are those that have ended."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.world, self.notes = root / "world", root / f"runs-of-seed-{seed}.jsonl"
        if not self.world.exists():
            write_world(self.world)
        self.unbroken = cache(self._unbroken)
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.runs = [
            Run(**made | {"kills": [Kill(**kill) for kill in made["kills"]]}) for made in map(json.loads, lines)
        ]

    def kills(self) -> int:
        """How many there were."""
        return sum(len(run.kills) for run in self.runs)

    def folder(self, name: str) -> Path:
        """A working folder as a user has."""
        folder = self.root / name.replace(" ", "_")
        shutil.rmtree(folder, ignore_errors=True)  # of an interrupted campaign
        folder.mkdir()
        (folder / "assets").symlink_to(REPOSITORY / "assets")
        shutil.copy(self.world / "captions.csv", folder)
        return folder

    def once(self, command: str, stage: str, folder: Path, ranks: int, **how: Any) -> Attempt:
        """One attempt; the batches that it saw are moved to files of its own."""
        args = STAGES[stage].command(command, self.world, ranks, workers=ranks - 1)
        made = attempt(partial(Group, args, folder, ranks, how.get("cold", False)), folder, how.get("target"))
        for rank in range(ranks):
            if (folder / ORDER.format(rank=rank)).exists():
                (folder / ORDER.format(rank=rank)).rename(folder / f"order-{how.get('number', 0)}-{rank}.jsonl")
        return made

    def _unbroken(self, command: str, stage: str, ranks: int) -> tuple[Path, Attempt]:
        """The folder of an unbroken command, and how it went."""
        name = f"unbroken {command} {stage} {ranks}"
        notes = self.root / name.replace(" ", "_") / "attempt.json"
        if notes.exists():
            return notes.parent, Attempt(**json.loads(notes.read_text()))
        folder = self.folder(name)
        if command == "predict":
            shutil.copytree(self.unbroken("fit", stage, 1)[0] / "exports/run", folder / "exports/run")
        made = self.once(command, stage, folder, ranks)
        if any(made.codes):
            raise RuntimeError(f"an unbroken {command} of {stage} failed:\n{(folder / LOG).read_text()[-2000:]}")
        write_text(notes, json.dumps(asdict(made)))
        return folder, made

    def run(self, number: int, command: str, stage: str, worlds: tuple[int, ...], most: int) -> None:
        """Kill a command some times, `most` at most, let it end, compare, and note it."""
        wanted, whole = self.unbroken(command, stage, worlds[0])
        name = "-".join(map(str, worlds))
        folder, begin = self.folder(f"{number} {command} {stage} {name}"), time.monotonic()
        rng = np.random.default_rng((self.seed, number, command == "predict"))
        before = self.prepare(command, stage, folder, rng.random() < 0.5)
        run = Run(number, command, stage, name, str(provenance().get("commit")))
        kills, orders = min(most, int(rng.integers(1, MOST[command] + 1))), []
        for turn in range(100):
            ranks = worlds[turn % len(worlds)]
            cold = bool(rng.random() < COLD)
            target = choose(rng, whole) if turn < kills else None
            made = self.once(command, stage, folder, ranks, target=target, cold=cold, number=turn)
            orders.append([end_state.read_order(folder / f"order-{turn}-{rank}.jsonl") for rank in range(ranks)])
            told = f"{command} {stage}, {ranks} processes, {target.name if target else 'to the end'}"
            print(f"{self.kills() + len(run.kills)} kills: {told}: {made.phase} {made.codes}", flush=True)
            said = (folder / LOG).read_text()[-1000:]
            if made.hung:
                run.problems.append(f"attempt {turn} hung in {made.phase}")
                break
            if -9 in made.codes and target is not None:
                run.kills.append(Kill(command, stage, name, target.name, made.phase, cold, made.left))
                run.problems += self.half_way(folder, wanted, before, turn)
            elif 2 in made.codes and REFUSED in said:
                run.refused, worlds = True, worlds[:1]
            elif any(made.codes):
                run.problems.append(f"attempt {turn} ended with {made.codes}: {said}")
                break
            else:
                break
        run.problems += self.compare(command, folder, wanted, orders, exact=len(set(map(len, orders))) == 1)
        run.seconds = time.monotonic() - begin
        self.runs.append(run)
        write_text(self.notes, "".join(json.dumps(asdict(run)) + "\n" for run in self.runs))
        for problem in run.problems:
            print(f"FAILURE {folder.name}: {problem}", flush=True)
        if not run.problems:
            shutil.rmtree(folder)

    def prepare(self, command: str, stage: str, folder: Path, older: bool) -> dict[str, Any]:
        """What stands there before: for predict the export, for some fits an older export, which is returned."""
        source = self.unbroken("fit", stage, 1)[0] / "exports/run"
        if command == "predict":
            shutil.copytree(source, folder / "exports/run")
        elif older:
            (folder / "exports/run").mkdir(parents=True)
            for path in source.iterdir():
                (folder / "exports/run" / path.name).write_text("old")
            return {path.name: b"old" for path in source.iterdir()}
        return {}

    def half_way(self, folder: Path, wanted: Path, before: dict[str, Any], turn: int) -> list[str]:
        """What a kill must never leave: half a checkpoint, half an export, half a table under its final name."""
        problems = []
        for path in folder.glob("runs/run/*/checkpoints/*.ckpt"):
            try:
                torch.load(path, weights_only=True)
            except Exception as error:
                problems.append(f"kill {turn} left half of {path.name}: {error}")
        exported = {path.name: path for path in (folder / "exports/run").glob("*")}
        old = {name: path.read_bytes() for name, path in exported.items()} == before
        if not old and exported.keys() != {path.name for path in (wanted / "exports/run").glob("*")}:
            problems.append(f"kill {turn} left exports/run with {sorted(exported)}")
        table = Path("exports/captions/captions.csv")
        if (folder / table).exists() and (folder / table).read_bytes() != (wanted / table).read_bytes():
            problems.append(f"kill {turn} left another captions.csv")
        return problems

    def compare(
        self, command: str, folder: Path, wanted: Path, orders: list[list[list[Any]]], exact: bool
    ) -> list[str]:
        """How the end state differs from the unbroken run's, in a few lines."""
        if command == "predict":
            table, parts = Path("exports/captions/captions.csv"), "exports/captions/parts-*/*.jsonl"
            rows = [line for path in folder.glob(parts) for line in path.read_text().splitlines()]
            same = (folder / table).is_file() and (folder / table).read_bytes() == (wanted / table).read_bytes()
            return ([] if same else ["captions.csv differs"]) + (
                [] if len(rows) == len(set(rows)) else [f"{len(rows) - len(set(rows))} rows are there twice"]
            )
        tolerance = 0.0 if exact else 1e-5
        found: list[str] = []
        for read in (end_state.checkpoints, end_state.curve) if exact else ():
            found += end_state.differences(read(folder), read(wanted), tolerance, read.__name__)
        if not exact:
            both = [{"weights": end_state.checkpoints(each)["last.ckpt"]["state_dict"]} for each in (folder, wanted)]
            found += end_state.differences(*both, tolerance)
        both = [end_state.export(each, exact) for each in (folder, wanted)]
        found += end_state.differences(*both, tolerance, "export")
        places = (end_state.last_fit(folder), folder / "exports")  # killed in its first checkpoint, a run has a folder
        if left := [path.name for place in places for path in place.rglob(".*.partial")]:
            found.append(f"left behind: {left}")
        return found[:8] + self.compare_order(wanted, orders, exact)

    def compare_order(self, wanted: Path, orders: list[list[list[Any]]], exact: bool) -> list[str]:
        """Each batch once, at its place, with the same rows; over another number of processes, each global batch."""
        whole = [end_state.read_order(path) for path in sorted(wanted.glob("order-0-*.jsonl"))]
        if not exact:
            steps: list[list[str]] = []
            for ranks in orders:
                if any(ranks):
                    first = min(rank[0]["step"] for rank in ranks if rank)
                    if first > len(steps):
                        return [f"an attempt begins at step {first}, {len(steps)} were seen"]
                    steps = [*steps[:first], *end_state.global_batches(ranks)]
            return [] if steps == end_state.global_batches(whole) else ["global batches differ"]
        problems = []
        for rank, batches in enumerate(whole):
            seen, wrong = end_state.history([attempted[rank] for attempted in orders])
            problems += [f"rank {rank}: {each}" for each in wrong]
            if [batch["rows"] for batch in seen] != [batch["rows"] for batch in batches]:
                problems.append(f"rank {rank}: other batches than the unbroken run")
        return problems


def main(args: Sequence[str] | None = None) -> None:
    """Kill until there are enough kills or the time is over, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many (%(default)s)")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no run after them (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (%(default)s)")
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES), help="which (all)")
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"), help="where to run (%(default)s)")
    parser.add_argument("--output", type=Path, help="the page to write")
    with one_line_errors():
        given = list(sys.argv[1:] if args is None else args)
        options = parser.parse_args(given)
        options.folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + 60 * options.minutes
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the run that is under way, too
        made_by = provenance(["python", "-m", "tests.campaigns.kills", *given])
        import_everything()
        campaign = Campaign(options.folder.resolve(), options.seed)
        number = len({run.number for run in campaign.runs})
        while campaign.kills() < options.kills and time.monotonic() < until:
            stage = options.stages[number % len(options.stages)]
            worlds = WORLDS[(number + number // len(options.stages)) % len(WORLDS)]  # all pairs in turn
            for command in ("fit", "predict") if STAGES[stage].predicts else ("fit",):
                if campaign.kills() < options.kills:
                    campaign.run(number, command, stage, worlds, options.kills - campaign.kills())
            number += 1
        if options.output is not None:
            write_text(options.output, page(campaign.runs, options.seed, made_by))
        failures = sum(bool(run.problems) for run in campaign.runs)
        print(f"{campaign.kills()} kills in {len(campaign.runs)} runs, of which {failures} failed", flush=True)
        if failures:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
