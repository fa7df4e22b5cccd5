"""python -m benchmarks.criteria: the criteria against a plain version, one clip at a time by autograd, in one run.

Forward and backward of 8 clips of 512 audio tokens and 576 image tokens of width 1024 in float32, with gradients for
both sets of tokens and the criterion's parameters; `frozen` rows do without the image tokens', as in training. CPU
seconds are summed over threads. The two versions of a row take turns in one process, so that both meet the same
machine; ratios are of the shortest and of the median steps. Peak memory is what a first step adds at most to a process
of its own. From the root of the project; Linux only. Exit code 1 where a floor is missed.

Tokens are normally distributed but for the row `clusters`: there they lie tightly around six points, whose shares
differ between audio and image, which is the hardest that is known for the solver's shortlist.
"""

import argparse
import gc
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

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
REPETITIONS = 7
CRITERIA = {
    "optimal transport": (OptimalTransport, plain_criteria.optimal_transport),
    "MMD": (MMD, plain_criteria.mmd),
    "contrastive": (Contrastive, plain_criteria.contrastive),
    "Cauchy-Schwarz": (CauchySchwarz, plain_criteria.cauchy_schwarz),
}
ROWS = [
    (name, frozen, clusters)
    for name in ("optimal transport", "attentive optimal transport", "MMD", "contrastive", "Cauchy-Schwarz")
    for frozen, clusters in ((False, False), (True, False), *([(True, True)] if "transport" in name else []))
]
FLOORS = {  # of both ratios, by the row's label
    "optimal transport": 1.5,
    "optimal transport, frozen": 1.5,
    "attentive optimal transport": 1.9,
    "attentive optimal transport, frozen": 2.0,
    "MMD": 1.5,
    "MMD, frozen": 1.5,
}
TWO_CORES = 1.2
Step = Callable[[], Any]


def tokens(clusters: bool) -> tuple[Tensor, Tensor]:
    """Audio tokens and image tokens."""
    generator = torch.Generator().manual_seed(0)
    audio, image = (torch.randn(CLIPS, count, WIDTH, generator=generator) for count in (NUM_AUDIO, NUM_IMAGE))
    if clusters:
        centres = 2 * torch.randn(CLIPS, 6, WIDTH, generator=generator)
        shares = torch.tensor([0.6, 0.2, 0.1, 0.05, 0.03, 0.02])

        def around(noise: Tensor, shares: Tensor) -> Tensor:
            place = torch.multinomial(shares.expand(CLIPS, 6), noise.shape[1], replacement=True, generator=generator)
            return centres.gather(1, place[:, :, None].expand_as(noise)) + 0.3 * noise

        audio, image = around(audio, shares), around(image, shares.flip(0))
    return audio, image


def versions(name: str) -> tuple[nn.Module, plain_criteria.Loss]:
    """A criterion and its plain version."""
    if name == "attentive optimal transport":
        torch.manual_seed(0)
        criterion = AttentiveOptimalTransport()
        criterion.set_epoch(1)
        attentions = nn.ModuleDict({"audio": criterion.audio_attention, "image": criterion.image_attention})
        return criterion, plain_criteria.attentive_optimal_transport(attentions, criterion.temperature, epsilon=500.0)
    make, plain = CRITERIA[name]
    return make(), plain


def training_steps(name: str, frozen: bool, clusters: bool) -> tuple[Step, Step]:
    """Forward and backward, plainly and by ours; `frozen` image tokens have no gradient."""
    ours, theirs = versions(name)
    audio, image = tokens(clusters)
    audio.requires_grad_()
    image.requires_grad_(not frozen)

    def step(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        audio.grad = image.grad = None
        ours.zero_grad()
        loss(audio, image).backward()

    return lambda: step(theirs), lambda: step(lambda *both: ours(*both)[0])


def solver_on_cores(cores: int) -> Step:
    """The batch of clips as `EarthMover` solves it with all pairs, on so many cores."""
    audio, image = tokens(clusters=True)
    cost, weights = squared_distances(audio, image), (uniform_weights(audio), uniform_weights(image))
    return lambda: EarthMover(cores)(cost, *weights)


def seconds(steps: tuple[Step, ...], clock: Callable[[], float]) -> list[list[float]]:
    """Seconds of each step, (steps, REPETITIONS); they take turns."""
    torch.set_num_threads(1)
    found: list[list[float]] = [[] for _ in steps]
    for repetition in range(REPETITIONS + 1):
        for step, taken in zip(steps, found):
            start = clock()
            step()
            if repetition:  # the first warms up
                taken.append(clock() - start)
    return found


def step_seconds(*row: Any) -> list[list[float]]:
    """CPU seconds of a row's plain steps and of ours."""
    return seconds(training_steps(*row), time.process_time)


def solver_seconds() -> list[list[float]]:
    """Wall seconds of the solver on one core and on two."""
    return seconds((solver_on_cores(1), solver_on_cores(2)), time.perf_counter)


def peak() -> float:
    """Most bytes of memory in use since the last reset."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) * 1024


def bytes_of_first_step(plain: bool, *row: Any) -> float:
    """What a first step adds at most; later ones would find memory that the allocator has kept."""
    torch.set_num_threads(1)
    # or each further thread of the solver would add its own
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    step = training_steps(*row)[0 if plain else 1]
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use
    before = peak()
    step()
    return peak() - before


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's value, from a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Print the table; exit code 1 where a floor is missed."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.criteria", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(f"{CLIPS} clips, {NUM_AUDIO} x {NUM_IMAGE} tokens of width {WIDTH}, float32, {REPETITIONS} steps each\n")
    print(
        "| criterion | plain, CPU s | ours, CPU s | ratio of shortest | of medians | plain, peak MB | ours, peak MB |"
    )
    print("|---|---|---|---|---|---|---|")
    missed = []
    for row in tqdm(ROWS, desc="measuring", disable=None):
        name, frozen, clusters = row
        label = name + frozen * ", frozen" + clusters * ", clusters"
        plain, ours = in_a_process(step_seconds, *row)
        ratios = min(plain) / min(ours), statistics.median(plain) / statistics.median(ours)
        theirs, mine = (in_a_process(bytes_of_first_step, version, *row) for version in (True, False))
        cells = f"{min(plain):.3f} | {min(ours):.3f} | {ratios[0]:.2f} | {ratios[1]:.2f}"
        print(f"| {label} | {cells} | {theirs / 1e6:.0f} | {mine / 1e6:.0f} |", flush=True)
        if min(ratios) < FLOORS.get(label, 0):
            missed.append(f"{label} {min(ratios):.2f} < {FLOORS[label]}")
        if mine > theirs:
            missed.append(f"{label} takes more memory than the plain version")
    one, two = (min(taken) for taken in in_a_process(solver_seconds))
    print(f"\nThe solver alone, clusters: {one:.3f} s on one core, {two:.3f} s on two: {one / two:.2f} x.")
    missed += [f"two cores {one / two:.2f} < {TWO_CORES}"] if one / two < TWO_CORES else []
    if missed:
        sys.exit(f"below the floor: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
