"""What it costs that ranks tell one another of signals: `python -m benchmarks.signal_agreement`.

DALI's alignment trains on the miniature on two ranks of this machine (gloo). Blocks of steps with and without the
telling take turns within the one run, in the order with, without, without, with, so that both meet the same load; a
pair of blocks gives one ratio. The first step of a block is left out: a message that is under way belongs to the step
before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from callbacks.resuming import LastCheckpoint
from earshot.errors import InputError, one_line_errors
from evaluation.bootstrap import bootstrap_weights, estimate
from reports.page import add_page, write_page
from reports.table import at_least

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = 2000  # of the bootstrap


class Alternate(L.Callback):
    """Has no rank tell of signals in half of the blocks, and writes how long each step took on rank 0.

    Args:
        block: steps of a block.
        output: file with a line for each step: its seconds, and those that rank 0 spent on telling and hearing.
    """

    def __init__(self, block: int, output: str) -> None:
        self.block, self.output = block, output
        self.began: float | None = None
        self.told = 0.0  # seconds of the telling after the last step
        self.seconds: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """One step has ended and the next begins."""
        now = time.perf_counter()
        if self.began is None:
            (last,) = [one for one in vars(trainer)["callbacks"] if isinstance(one, LastCheckpoint)]
            assert last.stop is not None
            tell = last.stop.step

            def timed() -> None:
                start = time.perf_counter()
                if tells(trainer.global_step - 1, self.block):
                    tell()
                self.told = time.perf_counter() - start

            last.stop.step = timed  # type: ignore[method-assign]
        else:
            self.seconds.append((now - self.began, self.told))
        self.began = now

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the file."""
        if trainer.is_global_zero:
            np.savetxt(self.output, self.seconds)


def tells(step: int, block: int) -> bool:
    """Whether step number `step` is of a block with the telling."""
    return step // block % 4 in (0, 3)


def in_pairs(seconds: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Median of the steps (steps,) of each block, without its first: (pairs,) with the telling, (pairs,) without."""
    pairs = len(seconds) // (2 * block)
    medians = np.median(seconds[: pairs * 2 * block].reshape(pairs, 2, block)[:, :, 1:], axis=-1)  # (pairs, 2)
    medians[1::2] = medians[1::2, ::-1]
    return medians[:, 0], medians[:, 1]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=at_least(2), default=40, help="of blocks (%(default)s)")
    parser.add_argument("--block", type=at_least(2), default=5, help="steps of a block (%(default)s)")
    parser.add_argument("--batch-size", type=at_least(1), default=8, help="clips of each rank (%(default)s)")
    add_page(parser, "runs/signal_agreement.md")
    with one_line_errors():
        options = parser.parse_args(args)
        options.command = ["python", "-m", "benchmarks.signal_agreement", *args]
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(Path(folder), options)
        write(options, seconds)


def measure(folder: Path, options: argparse.Namespace) -> np.ndarray:
    """Seconds of each step of the run, and of its telling: (steps, 2)."""
    (folder / "assets").symlink_to(ROOT / "assets")
    steps = options.pairs * options.block * 2 + 1
    command = [
        sys.executable, str(ROOT / "train.py"), "fit", "--config", str(ROOT / "configs" / "dali_ot.yaml"),
        "--data.max_clips", "240", "--data.batch_size", str(options.batch_size), "--data.num_workers", "0",
        "--data.val", "null", "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp",
        "--trainer.max_epochs=-1", "--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "0",
        "--trainer.callbacks+=benchmarks.signal_agreement.Alternate", f"--trainer.callbacks.block={options.block}",
        "--trainer.callbacks.output=seconds.txt",
    ]  # fmt: skip
    places = {"PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **places}, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"expected a run of {steps} steps, found that it failed: {done.stderr.strip()[-300:]}")
    return np.loadtxt(folder / "seconds.txt")


def write(options: argparse.Namespace, seconds: np.ndarray) -> None:
    """Write the page from the seconds of each step and of its telling: (steps, 2)."""
    told, quiet = in_pairs(seconds[:, 0], options.block)
    itself, _ = in_pairs(seconds[:, 1], options.block)
    ratio = told / quiet
    picks = bootstrap_weights(len(ratio), SAMPLES, 0)
    medians = np.array([np.median(np.repeat(ratio, pick.astype(int))) for pick in picks])
    line = {
        "ranks": "2, gloo",
        "N": str(len(ratio)),
        "milliseconds a step, told": f"{np.median(told) * 1e3:.1f}",
        "not told": f"{np.median(quiet) * 1e3:.1f}",
        "the telling itself": f"{np.median(itself) * 1e3:.2f}",
        "ratio": estimate(float(np.median(ratio)), medians),
    }
    measured = [
        f"N pairs of blocks of {options.block} steps, with, without, without, with the telling, the first step of "
        "each left out; medians of steps in a block, then of blocks",
        f"DALI's alignment on the miniature, {options.batch_size} clips on each of two ranks of one thread, seed 42",
        f"interval: 95%, bootstrapped over the pairs ({SAMPLES} samples, seed 0)",
    ]
    notes = [
        "the telling itself: milliseconds that rank 0 spends on hearing the last message and sending the next",
        "ratio: a step with the telling to one without",
    ]
    write_page(options, [line], {}, notes, measured)


if __name__ == "__main__":
    main()
