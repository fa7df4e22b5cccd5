"""python -m benchmarks.attention_weights runs/dali_attentive_ot: does attentive OT give things that sound more weight?

On clips of the miniature that are in no split, the weights of an image's 64 tokens are compared by AUROC: tokens of
things that sound against all others, against the ground, and against silent things. Each AUROC is the mean over the
clips, with a 95% bootstrap interval. A figure of some images with their weights goes into the folder.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from datamodules.clips import ClipBatch
from earshot.atomic import atomic_path
from earshot.errors import InputError, one_line_errors
from evaluation.bootstrap import bootstrap_weights, estimate
from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.token_alignment import TokenAlignment
from miniature import sprites, world

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402  the backend comes first

PATCHES = sprites.IMAGE_SIZE // sprites.PATCH_SIZE  # a side
GROUND, SILENT, SOUNDING = 0, 1, 2


def clip_of(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Waveform (T,), image (64, 64, 3), and what each of its tokens shows, (64,)."""
    clip = world.make_clip(world.generator(0, "attention", index, "clip"), world.AUDIOCAPS)
    waveform = world.sound(clip, world.AUDIOCAPS, world.generator(0, "attention", index, "sound"))
    rng = world.generator(0, "attention", index, "picture")
    placed = world.layout(clip, rng)
    shown = np.full((PATCHES, PATCHES), GROUND)
    side = sprites.SPRITE_SIZE // sprites.PATCH_SIZE
    sounding = {event.name for event in clip.events}
    for name, _, row, column in placed:
        shown[row : row + side, column : column + side] = SOUNDING if name in sounding else SILENT
    return waveform, sprites.draw(clip.scene, placed, rng), shown.ravel()


def load(run: Path) -> TokenAlignment:
    """The stage of the newest fit of a run name, with its best weights."""
    found = sorted(run.glob("fit-*/checkpoints/best.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(
            f"expected fit-1/checkpoints/best.ckpt in {run}, found none; give a run name's folder in runs/"
        )
    config = found[-1].parents[1] / "config.yaml"
    parser = ArgumentParser()
    parser.add_subclass_arguments(TokenAlignment, "model")
    given = parser.parse_object({"model": yaml.safe_load(config.read_text())["model"]})
    stage: TokenAlignment = parser.instantiate_classes(given).model
    stage.load_state_dict(torch.load(found[-1], map_location="cpu", weights_only=True)["state_dict"])
    stage.captioner.network.load("audio+image", language_model=False)
    return stage.eval()


@torch.no_grad()
def weigh(run: Path, waveforms: np.ndarray, images: np.ndarray) -> Tensor:
    """Weights of the image tokens, (clips, 64)."""
    stage = load(run)
    if not isinstance(stage.criterion, AttentiveOptimalTransport):
        raise InputError(
            f"expected a run of attentive optimal transport, found {type(stage.criterion).__name__} in {run}; name "
            "another run"
        )
    return torch.cat([stage.criterion.weights(*tokens)[1] for tokens in tokens_of(stage, waveforms, images)])


def tokens_of(stage: TokenAlignment, waveforms: np.ndarray, images: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Audio tokens (B, N, D) and image tokens (B, 64, D) of 50 clips at a time."""
    audio, pixels = torch.from_numpy(waveforms), torch.from_numpy(images).permute(0, 3, 1, 2)
    captioner = stage.captioner.network
    for sound, picture in zip(audio.split(50), pixels.split(50), strict=True):
        lengths, nothing = torch.full((len(sound),), sound.shape[1]), [[] for _ in sound]
        clips = ClipBatch([""] * len(sound), sound, lengths, picture, nothing, nothing)
        yield captioner.audio_tokens(clips), captioner.image_tokens(clips)


def draw(path: Path, images: np.ndarray, weights: Tensor) -> None:
    """Images above, their weights below: white is twice the uniform weight, black is none."""
    figure, axes = plt.subplots(2, len(images), squeeze=False, figsize=(1.6 * len(images), 3.4))
    for (above, below), image, weight in zip(axes.T, images, weights, strict=True):
        above.imshow(image)
        below.imshow(weight.view(PATCHES, PATCHES) * PATCHES**2, cmap="gray", vmin=0, vmax=2)
        above.axis("off")
        below.axis("off")
    figure.suptitle("weights of the image tokens, 0 to 2 times the uniform weight")
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150, bbox_inches="tight", format="png")


def main(args: Sequence[str] | None = None) -> None:
    """Print the AUROCs of one run's weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention_weights", description=main.__doc__)
    parser.add_argument("run", type=Path, help="runs/<run_name> of a fit with configs/criterion/attentive_ot.yaml")
    parser.add_argument("--clips", type=int, default=300, help="clips of the miniature (%(default)s)")
    options = parser.parse_args(args)
    with one_line_errors():
        waveforms, images, shown = (np.stack(part) for part in zip(*map(clip_of, range(options.clips)), strict=True))
        weights = weigh(options.run, waveforms, images)
        for title, others in (("the rest", (GROUND, SILENT)), ("the ground", (GROUND,)), ("silent things", (SILENT,))):
            areas = []
            for weight, tokens in zip(weights, torch.from_numpy(shown)):
                counted = torch.isin(tokens, torch.tensor([SOUNDING, *others]))
                if torch.isin(tokens, torch.tensor(others)).any():
                    areas.append(binary_auroc(weight[counted], (tokens[counted] == SOUNDING).long()).item())
            samples = bootstrap_weights(len(areas), 2000, 0) @ np.array(areas) / len(areas)
            found = estimate(float(np.mean(areas)), samples)
            print(f"AUROC of things that sound against {title}: {found} (N = {len(areas)})")
        figure = options.run / "attention_weights.png"
        draw(figure, images[:8], weights[:8])
        print(f"figure: {figure}")


if __name__ == "__main__":
    main()
