"""Which image tokens get mass, and how near audio tokens come to them: `python -m benchmarks.transported_mass RUN`.

On clips of the miniature that are in no split, each of an image's 64 tokens shows something that sounds, something
silent, or the ground. Two things are measured for each kind, as the mean over the clips that show it:

- mass: what the run's own criterion moves to a token of this kind, relative to the mean of all tokens;
- distance: the mean squared distance to it under the exact plan with equal weights, whatever the criterion.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.attention_weights import GROUND, SILENT, SOUNDING, clip_of, load, tokens_of
from earshot.errors import one_line_errors
from evaluation.bootstrap import bootstrap_weights, estimate
from lightning_modules.contracts import Criterion, TransportCriterion
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.losses.token_distances import centre, squared_distances
from lightning_modules.losses.without_background import WithoutBackground
from reports.page import add_page, write_page
from reports.table import Cell, at_least

KINDS = {"what sounds": SOUNDING, "silent things": SILENT, "the ground": GROUND}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="runs/<run_name> of fits with configs/dali_ot.yaml")
    parser.add_argument("--clips", type=at_least(1), default=300, help="(%(default)s)")
    add_page(parser, "runs/transported_mass.md")
    with one_line_errors():
        options = parser.parse_args(args)
        options.command = ["python", "-m", "benchmarks.transported_mass", *args]
        run(options)


def run(options: argparse.Namespace) -> None:
    """One line for each run."""
    waveforms, images, shown = (np.stack(part) for part in zip(*map(clip_of, range(options.clips)), strict=True))
    lines = [line(path, waveforms, images, shown) for path in options.runs]
    measured = [
        f"clips: N = {options.clips} of the miniature, in no split",
        "intervals: 95%, bootstrapped over the clips (2000 samples, seed 0)",
    ]
    notes = [
        "mass: of the run's own criterion, 1 is the mean of all tokens of the image",
        "moved: share of all mass that the criterion moves",
        "distance: squared, under the exact plan with equal weights, in the tokens' units",
    ]
    write_page(options, lines, {}, notes, measured)


@torch.no_grad()
def line(path: Path, waveforms: np.ndarray, images: np.ndarray, shown: np.ndarray) -> dict[str, Cell]:
    """The measurements of a run; `shown` (clips, 64) is what the tokens show."""
    stage = load(path)
    assert stage.criterion is not None
    found = [
        (mass_to(stage.criterion, audio, image), distance_to(audio, image))
        for audio, image in tokens_of(stage, waveforms, images)
    ]
    mass, distance = (torch.cat(part).double().numpy() for part in zip(*found))  # (clips, 64) each
    moved = mass.sum(axis=1)  # (clips,)
    relative = mass / mass.mean(axis=1, keepdims=True)
    cells: dict[str, Cell] = {"run": path.name, "moved": f"{moved.mean():.3f}"}
    for title, values in (("mass on", relative), ("distance to", distance)):
        cells |= {f"{title} {name}": mean_over(values, shown == kind) for name, kind in KINDS.items()}
    return cells


def mass_to(criterion: Criterion, audio: Tensor, image: Tensor) -> Tensor:
    """The mass that a criterion moves to each image token, (B, M); equal where it moves none."""
    if isinstance(criterion, WithoutBackground):
        audio, image, _ = criterion.apart(audio, image)
        criterion = criterion.criterion
    couples = criterion if isinstance(criterion, TransportCriterion) else OptimalTransport()
    return couples.couple(audio, image)[0].sum(dim=1)


def distance_to(audio: Tensor, image: Tensor) -> Tensor:
    """The mean squared distance that mass comes from to each image token, (B, M), under the exact plan."""
    plan = OptimalTransport().couple(audio, image)[0]
    return (plan * squared_distances(*centre(audio, image))).sum(dim=1) * image.shape[1]


def mean_over(values: np.ndarray, tokens: np.ndarray) -> Cell:
    """The mean over the clips of the mean over their chosen tokens, both (clips, 64), with its interval."""
    means = np.array([value[some].mean() for value, some in zip(values, tokens) if some.any()])
    samples = bootstrap_weights(len(means), 2000, 0) @ means / len(means)
    return estimate(float(means.mean()), samples)


if __name__ == "__main__":
    main()
