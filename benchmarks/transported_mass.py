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
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from benchmarks.attention_weights import GROUND, SILENT, SOUNDING, clip_of, load, tokens_of
from earshot.errors import InputError, one_line_errors
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
    parser.add_argument(
        "--overlay",
        type=Path,
        action="append",
        default=[],
        help="YAML of another criterion without learnt parameters, such as configs/solver/partial.yaml: what it would "
        "move on the tokens of the first run; repeatable",
    )
    add_page(parser, "runs/transported_mass.md")
    with one_line_errors():
        options = parser.parse_args(args)
        options.command = ["python", "-m", "benchmarks.transported_mass", *args]
        run(options)


def run(options: argparse.Namespace) -> None:
    """One line for each run."""
    waveforms, images, shown = (np.stack(part) for part in zip(*map(clip_of, range(options.clips)), strict=True))
    lines = [line(path, None, waveforms, images, shown) for path in options.runs]
    lines += [line(options.runs[0], overlay, waveforms, images, shown) for overlay in options.overlay]
    measured = [
        f"clips: N = {options.clips} of the miniature, in no split",
        "intervals: 95%, bootstrapped over the clips (2000 samples, seed 0)",
    ]
    notes = [
        "mass: of the run's own criterion, or of the overlay's that its name ends with; 1 is the mean of all tokens of "
        "the image",
        "moved: share of all mass that the criterion moves",
        "distance: squared, under the exact plan with equal weights, in the tokens' units",
    ]
    write_page(options, lines, {}, notes, measured)


@torch.no_grad()
def line(
    path: Path, overlay: Path | None, waveforms: np.ndarray, images: np.ndarray, shown: np.ndarray
) -> dict[str, Cell]:
    """The measurements of a run, or of an overlay's criterion on its tokens; `shown` (clips, 64) is what they show."""
    stage = load(path)
    criterion = criterion_of(overlay) if overlay else stage.criterion
    assert criterion is not None
    found = [
        (mass_to(criterion, audio, image), distance_to(audio, image))
        for audio, image in tokens_of(stage, waveforms, images)
    ]
    mass, distance = (torch.cat(part).double().numpy() for part in zip(*found))  # (clips, 64) each
    moved = mass.sum(axis=1)  # (clips,)
    relative = mass / mass.mean(axis=1, keepdims=True)
    name = f"{path.name}, {overlay.stem}" if overlay else path.name
    cells: dict[str, Cell] = {"run": name, "moved": f"{moved.mean():.3f}"}
    for title, values in (("mass on", relative), ("distance to", distance)):
        cells |= {f"{title} {what}": mean_over(values, shown == kind) for what, kind in KINDS.items()}
    return cells


def criterion_of(overlay: Path) -> Criterion:
    """The criterion that an overlay of configs/dali_ot.yaml names or changes."""
    try:
        wanted = yaml.safe_load(overlay.read_text())["model"]["init_args"]["criterion"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise InputError(f"expected a YAML with model.init_args.criterion, found none in {overlay}") from None
    plain = f"{OptimalTransport.__module__}.{OptimalTransport.__qualname__}"
    parser = ArgumentParser()
    parser.add_argument("--criterion", type=Criterion)
    given = parser.parse_object({"criterion": {"class_path": plain, **wanted}})
    criterion: Criterion = parser.instantiate_classes(given).criterion
    if list(criterion.parameters()):
        raise InputError(f"expected a criterion that learns nothing, found {wanted['class_path']} in {overlay}; fit it")
    return criterion.eval()


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
