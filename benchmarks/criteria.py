"""python -m benchmarks.criteria: the criteria against a plain version, one clip at a time by autograd, in one run.

Forward and backward of 8 clips of 512 audio tokens and 576 image tokens of width 1024 in float32, with gradients for
both sets of tokens and the criterion's parameters; `frozen` rows do without the image tokens', as in training. CPU
seconds are summed over threads, medians of several repetitions; peak memory is what a first step adds at most to the
process. Every cell runs in a process of its own. From the root of the project; Linux only. Exit code 1 where a floor
is missed.
"""

import gc
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ot
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks import plain_criteria
from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.losses.cauchy_schwarz import CauchySchwarz
from lightning_modules.losses.contrastive import Contrastive
from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.mmd import MMD
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.token_distances import squared_distances
from lightning_modules.losses.transport import uniform_weights

CLIPS, NUM_AUDIO, NUM_IMAGE, WIDTH = 8, 512, 576, 1024
REPETITIONS = 5
FLOORS = {
    "optimal transport without the solver": 2.0,
    "optimal transport": 1.25,
    "attentive optimal transport": 1.6,
    "MMD": 1.5,
}
Step = Callable[[], Any]


def tokens() -> tuple[Tensor, Tensor]:
    """Audio tokens and image tokens."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(CLIPS, count, WIDTH, generator=generator) for count in (NUM_AUDIO, NUM_IMAGE))


def versions(name: str) -> tuple[nn.Module, plain_criteria.Loss]:
    """A criterion and its plain version."""
    if name == "attentive optimal transport":
        torch.manual_seed(0)
        criterion = AttentiveOptimalTransport()
        criterion.set_epoch(1)
        attentions = nn.ModuleDict({"audio": criterion.audio_attention, "image": criterion.image_attention})
        return criterion, plain_criteria.attentive_optimal_transport(attentions, criterion.temperature, epsilon=500.0)
    return {
        "optimal transport": (OptimalTransport(), plain_criteria.optimal_transport),
        "MMD": (MMD(), plain_criteria.mmd),
        "contrastive": (Contrastive(), plain_criteria.contrastive),
        "Cauchy-Schwarz": (CauchySchwarz(), plain_criteria.cauchy_schwarz),
    }[name]


def training_step(name: str, plain: bool, frozen: bool) -> Step:
    """Forward and backward; `frozen` image tokens have no gradient."""
    ours, theirs = versions(name)
    audio, image = tokens()
    audio.requires_grad_()
    image.requires_grad_(not frozen)

    def step() -> None:
        audio.grad = image.grad = None
        ours.zero_grad()
        loss = theirs(audio, image) if plain else ours(audio, image)[0]
        loss.backward()

    return step


def solver_alone() -> Step:
    """POT's part of a step, which both versions share: one clip after the other, from costs in float64."""
    audio, image = tokens()
    costs = squared_distances(audio, image).double().numpy()
    weights = uniform_weights(audio).double().numpy(), uniform_weights(image).double().numpy()
    return lambda: [ot.emd(a, b, cost, numItermax=10**7) for a, b, cost in zip(*weights, costs)]


def solver_in_threads(cores: int) -> Step:
    """The batch of clips as `EarthMover` solves it, on so many cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    audio, image = tokens()
    cost = squared_distances(audio, image)
    return lambda: EarthMover()(cost, uniform_weights(audio), uniform_weights(image))


def peak() -> float:
    """Most bytes of memory in use since the last reset."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(make: Callable[..., Step], arguments: tuple, queue: Any) -> None:
    """Put CPU seconds, wall seconds and peak bytes of a step into the queue."""
    torch.set_num_threads(1)
    step = make(*arguments)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use
    before = peak()
    step()  # the first one: later ones would find memory that the allocator has kept
    bytes_added = peak() - before
    seconds, walls = [], []
    for _ in range(REPETITIONS):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    queue.put((statistics.median(seconds), statistics.median(walls), bytes_added))


def main() -> None:
    """Print the table; exit code 1 where a floor is missed."""
    names = ["optimal transport", "attentive optimal transport", "MMD", "contrastive", "Cauchy-Schwarz"]
    rows = [(name, frozen) for name in names for frozen in (False, True)]
    jobs: dict[tuple, tuple[Callable[..., Step], tuple]] = {
        (*row, plain): (training_step, (row[0], plain, row[1])) for row in rows for plain in (True, False)
    }
    jobs |= {("solver",): (solver_alone, ())} | {(cores,): (solver_in_threads, (cores,)) for cores in (1, 2)}
    spawn = multiprocessing.get_context("spawn")
    found = {}
    for job, (make, arguments) in tqdm(jobs.items(), desc="measuring", disable=None):
        queue = spawn.Queue()
        process = spawn.Process(target=measure, args=(make, arguments, queue))
        process.start()
        found[job] = queue.get()
        process.join()

    print(f"{CLIPS} clips, {NUM_AUDIO} x {NUM_IMAGE} tokens of width {WIDTH}, float32, medians of {REPETITIONS}\n")
    print("| criterion | plain, CPU s | ours, CPU s | ratio | plain, peak MB | ours, peak MB |")
    print("|---|---|---|---|---|---|")
    solver = found["solver",][0]
    missed = []
    for name, frozen in rows:
        (plain, _, plain_bytes), (ours, _, our_bytes) = found[name, frozen, True], found[name, frozen, False]
        seconds = {name: (plain, ours)}
        if name == "optimal transport":
            seconds["optimal transport without the solver"] = (plain - solver, ours - solver)
        for row, (theirs, mine) in seconds.items():
            cells = f"{theirs:.3f} | {mine:.3f} | {theirs / mine:.2f} | {plain_bytes / 1e6:.0f} | {our_bytes / 1e6:.0f}"
            print(f"| {row}{', frozen' if frozen else ''} | {cells} |")
            if not frozen and theirs / mine < FLOORS.get(row, 0):
                missed.append(f"{row} {theirs / mine:.2f} < {FLOORS[row]}")
        if our_bytes > plain_bytes:
            missed.append(f"{name} takes more memory than the plain version")
    one, two = found[1,][1], found[2,][1]
    print(f"\nPOT alone: {1000 * solver / CLIPS:.1f} ms of CPU a clip.")
    print(f"The {CLIPS} clips through the thread pool: {one:.3f} s on one core, {two:.3f} s on two: {one / two:.2f} x.")
    missed += [f"two cores {one / two:.2f} < 1.6"] if one / two < 1.6 else []
    if missed:
        sys.exit(f"below the floor: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
