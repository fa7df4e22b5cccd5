"""What it costs that ranks tell one another of signals: `python -m benchmarks.signal_agreement`.

DALI's alignment trains on the miniature on two ranks of this machine (gloo). Blocks of steps with and without the
telling take turns within the one run, so that both meet the same load, and a pair of blocks gives one ratio. The first
step of a block is left out: a message that is under way belongs to the step before.
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
    """Has no rank tell of signals in every second block, and writes how long each step took on rank 0.

    Args:
        block: steps of a block.
        output: file with the seconds, one step a line.
    """

    def __init__(self, block: int, output: str) -> None:
        self.block, self.output = block, output
        self.began: float | None = None
        self.seconds: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """One step has ended and the next begins."""
        now = time.perf_counter()
        if self.began is None:
            (last,) = [one for one in vars(trainer)["callbacks"] if isinstance(one, LastCheckpoint)]
            assert last.stop is not None
            step = last.stop.step
            last.stop.step = lambda: step() if tells(trainer.global_step - 1, self.block) else None  # type: ignore
        else:
            self.seconds.append(now - self.began)
        self.began = now

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the file."""
        if trainer.is_global_zero:
            np.savetxt(self.output, self.seconds)


def tells(step: int, block: int) -> bool:
    """Whether step number `step` is of a block with the telling."""
    return step // block % 2 == 0


def ratios(seconds: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Median seconds of a step in each block, without its first: (pairs,) with the telling, (pairs,) without."""
    pairs = len(seconds) // (2 * block)
    blocks = seconds[: pairs * 2 * block].reshape(pairs, 2, block)[:, :, 1:]
    medians = np.median(blocks, axis=-1)  # (pairs, 2)
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
        tell(options, *ratios(seconds, options.block))


def measure(folder: Path, options: argparse.Namespace) -> np.ndarray:
    """Seconds of each step of the run: (steps,)."""
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


def tell(options: argparse.Namespace, told: np.ndarray, quiet: np.ndarray) -> None:
    """Write the page from the seconds of a step in each block with the telling, and without: (pairs,) both."""
    ratio = told / quiet
    picks = bootstrap_weights(len(ratio), SAMPLES, 0)
    medians = np.array([np.median(np.repeat(ratio, pick.astype(int))) for pick in picks])
    line = {
        "ranks": "2, gloo",
        "N": str(len(ratio)),
        "milliseconds a step, told": f"{np.median(told) * 1e3:.1f}",
        "not told": f"{np.median(quiet) * 1e3:.1f}",
        "ratio": estimate(float(np.median(ratio)), medians),
    }
    measured = [
        f"N pairs of blocks of {options.block} steps, with and without the telling in turn, the first step of each "
        "left out; medians of steps in a block, then of blocks",
        f"DALI's alignment on the miniature, {options.batch_size} clips on each of two ranks of one thread, seed 42",
        f"interval: 95%, bootstrapped over the pairs ({SAMPLES} samples, seed 0)",
    ]
    write_page(options, [line], {}, ["ratio: a step with the telling to one without"], measured)


if __name__ == "__main__":
    main()
