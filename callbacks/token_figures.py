"""Figures of an alignment while it trains: how audio tokens come to lie among image tokens (DALI, Fig. 4, 6 and 7)."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.figures import publish
from datamodules.clips import ClipBatch, Coupling
from datamodules.contracts import AligningStage
from earshot.drawing import AUDIO, IMAGE, OTHER, drawn, picture, scatter, spectrogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 4  # of the figure over training
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|\d+")
SHARE = 0.01  # of the time of a training run that drawing may take, but for the last figures


class Example(NamedTuple):
    """A clip whose tokens are drawn one by one."""

    clip_id: str
    image: np.ndarray | None  # (3, H, W) uint8
    samples: np.ndarray  # (T,)
    rate: int
    audio: np.ndarray  # (N, D)
    tokens: np.ndarray  # (M, D), of the image
    coupling: Coupling | None


class TokenFigures(L.Callback):
    """Draw the tokens of validation clips, after every validation for which there is time, and at the end.

    Into the run folder, as PNG and SVG, and to W&B go

    - token_means: a principal component analysis (PCA) of each clip's mean audio and mean image token, before training
      and at up to three later validations, in one plane, with the modality gap (Fig. 4);
    - tokens: all tokens of one clip in the plane of their PCA, with frame and spectrogram (Fig. 6);
    - transport, where the criterion moves mass: that clip's token weights as circles on the frame and on the
      spectrogram (Fig. 7), and the plan.

    The gap is the distance between the centroids of all audio and all image tokens of norm 1, as val/modality_gap. The
    tokens are those of the validation itself, so that no encoder runs twice. Drawing takes at most a hundredth of the
    time of a training run; validations without time for it are drawn at the end only.

    Args:
        num_clips: how many clips are drawn at most.
        clip: number of the clip whose single tokens are drawn, in the first batch of the split.
    """

    def __init__(self, num_clips: int = 256, clip: int = 0) -> None:
        self.num_clips = num_clips
        self.clip = clip
        self.history: list[tuple[str, Tensor, Tensor]] = []  # when, and the means (V, D) of both sides
        self.began, self.spent = time.monotonic(), 0.0
        self._forget()

    def _forget(self) -> None:
        self.audio: list[Tensor] = []
        self.image: list[Tensor] = []
        self.directions: list[Tensor] = []  # (2, B, D), means of tokens of norm 1
        self.example: Example | None = None

    def state_dict(self) -> dict[str, Any]:
        """The means so far: a resumed run draws the whole course."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them from a checkpoint."""
        self.history = list(state_dict["history"])

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the clips of the validation before."""
        self._forget()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the mean tokens of the clips of rank 0, and one clip whole."""
        if not (trainer.is_global_zero and isinstance(pl_module, AligningStage) and isinstance(batch, ClipBatch)):
            return
        if not batch.valid or sum(map(len, self.audio)) >= self.num_clips:
            return
        audio, image = outputs["audio_tokens"].detach().float(), outputs["image_tokens"].detach().float()
        self.audio.append(audio.mean(1).cpu())
        self.image.append(image.mean(1).cpu())
        self.directions.append(F.normalize(audio, dim=-1).mean(1).cpu() - F.normalize(image, dim=-1).mean(1).cpu())
        if self.example is None:
            self.example = example_of(pl_module, batch, audio, image, min(self.clip, len(audio) - 1))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add this validation to the course, and draw where there is time."""
        if not self.audio:
            return
        gap = torch.cat(self.directions).mean(0).norm().item()
        done = trainer.state.fn == "validate"
        trained = f"step {trainer.global_step}" if trainer.global_step else "before training"
        when = "validation" if done else trained
        audio, image = (torch.cat(side)[: self.num_clips].half() for side in (self.audio, self.image))
        self.history.append((f"{when}: gap {gap:.2f}", audio, image))
        if done or self.spent <= SHARE * (time.monotonic() - self.began):
            self.draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The whole course."""
        if self.history:
            self.draw(trainer, pl_module)

    def draw(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw what is known, and count the time."""
        start = time.monotonic()
        folder, name = Path(trainer.default_root_dir), words_of(type(pl_module.criterion).__name__)
        draw_course(folder / "token_means", name, self.history)
        names = ["token_means"]
        if self.example is not None:
            draw_tokens(folder / "tokens", name, self.example)
            names.append("tokens")
            if self.example.coupling is not None:
                draw_transport(folder / "transport", name, self.example, self.example.coupling)
                names.append("transport")
        publish(trainer, {f"figures/{each}": folder / each for each in names}, tell=not trainer.training)
        self.spent += time.monotonic() - start


def example_of(stage: AligningStage, batch: ClipBatch, audio: Tensor, image: Tensor, number: int) -> Example:
    """Clip `number` of a batch with its tokens, out of (B, N, D) and (B, M, D)."""
    one = slice(number, number + 1)
    assert batch.waveforms is not None and batch.num_samples is not None
    samples = batch.waveforms[number, : int(batch.num_samples[number])]
    return Example(
        batch.clip_ids[number],
        None if batch.images is None else batch.images[number].cpu().numpy(),
        samples.cpu().numpy(),
        stage.clip_format("validate").sampling_rate or 1,
        audio[number].cpu().numpy(),
        image[number].cpu().numpy(),
        stage.coupling(audio[one], image[one]),
    )


def directions(tokens: np.ndarray) -> np.ndarray:
    """Tokens (N, D) at norm 1."""
    unit: np.ndarray = tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
    return unit


def words_of(name: str) -> str:
    """`OptimalTransport` as `optimal transport`, `MMD` as it is, and `Contrastive` as `contrastive learning`."""
    words = [word if len(word) > 1 and word.isupper() else word.lower() for word in _WORDS.findall(name)]
    return " ".join([*words, "learning"] if words == ["contrastive"] else words) or name


def plane(*sides: np.ndarray) -> list[np.ndarray]:
    """Sides (., D) in the plane (., 2) of the first two principal components of all of them, each side weighing the
    same, so that the plane shows what lies between the sides as well as what lies within each."""
    centre = np.mean([side.mean(0) for side in sides], axis=0)
    moved = [side - centre for side in sides]
    scatter_matrix = sum(side.T @ side / len(side) for side in moved)
    directions = np.linalg.eigh(scatter_matrix)[1][:, :-3:-1]  # (D, 2), the greatest variance first
    directions = directions * np.sign(directions[np.abs(directions).argmax(0), [0, 1]])  # a sign that stays
    return [side @ directions for side in moved]


def draw_course(path: Path, name: str, history: list[tuple[str, Tensor, Tensor]]) -> None:
    """A panel for up to four validations, the first and the last among them, all in one plane."""
    shown = [history[index] for index in sorted({round(x) for x in np.linspace(0, len(history) - 1, PANELS)})]
    number = min(len(audio) for _, audio, _ in shown)  # the validation before training is a short one
    sides = [side[:number].float().numpy() for _, *pair in shown for side in pair]
    # one basis: the images, which stay where they are, and the audio of all panels
    audio, image = np.concatenate(sides[0::2]), sides[1]
    flat_audio, flat_image = plane(audio, image)
    limits = np.concatenate([flat_audio, flat_image])
    margin = 0.05 * np.ptp(limits, axis=0) + 1e-6
    gaps = list(dict.fromkeys(when.rpartition(" ")[2] for when, *_ in (shown[0], shown[-1])))
    title = f"Mean tokens under {name}: gap {' to '.join(gaps)} (PCA, N = {number} clips)"
    with drawn(path, title, max(4.6, 2.5 * len(shown)), 3.1, columns=len(shown)) as axes:
        for axis, (when, *_), points in zip(axes[0], shown, np.split(flat_audio, len(shown))):
            scatter(axis, flat_image, IMAGE, "image")
            scatter(axis, points, AUDIO, "audio")
            low, high = limits.min(0) - margin, limits.max(0) + margin
            axis.set(title=when, xlabel="component 1", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes[0, 0].set_ylabel("component 2")
        axes[0, 0].legend(loc="best")


def draw_tokens(path: Path, name: str, clip: Example) -> None:
    """One clip's tokens beside its frame and its spectrogram."""
    flat_audio, flat_image = plane(clip.audio, clip.tokens)
    apart = np.linalg.norm(directions(clip.audio).mean(0) - directions(clip.tokens).mean(0))
    title = (
        f"A clip under {name}: {len(clip.audio)} audio and {len(clip.tokens)} image tokens, centroids {apart:.2f} apart"
    )
    with drawn(path, title, 8.6, 2.9, columns=3) as axes:
        frame_of(axes[0, 0], clip)
        axes[0, 0].set_title(clip.clip_id, parse_math=False)
        spectrogram(axes[0, 1], clip.samples, clip.rate)
        axes[0, 1].set_title("its sound")
        scatter(axes[0, 2], flat_image, IMAGE, "image tokens", 18)
        scatter(axes[0, 2], flat_audio, AUDIO, "audio tokens", 18)
        axes[0, 2].set(title="its tokens, PCA", xlabel="component 1", ylabel="component 2")
        axes[0, 2].legend(loc="best")


def draw_transport(path: Path, name: str, clip: Example, coupling: Coupling) -> None:
    """The weights as circles where their tokens look and listen, and the plan."""
    plan, of_audio, of_image = (side[0].float().cpu().numpy() for side in coupling[:3])
    pairs = f"{np.count_nonzero(plan > 1e-3 / plan.size)} of {len(of_audio)} x {len(of_image)} pairs of tokens"
    title = f"Transport of {clip.clip_id} under {name}: mass on {pairs}"
    with drawn(path, title, 10, 3.3, columns=3) as axes:
        frame, sound, matrix = axes[0]
        frame_of(frame, clip)
        spectrogram(sound, clip.samples, clip.rate)
        side = round(len(of_image) ** 0.5)
        if clip.image is not None and side * side == len(of_image):
            height, width = clip.image.shape[1:]
            rows, columns = np.divmod(np.arange(side * side), side)
            circles(frame, (columns + 0.5) * width / side, (rows + 0.5) * height / side, of_image, IMAGE)
            frame.set_title(f"weights of image tokens:\n{spread(of_image)}")
        if coupling.audio_grid is not None:
            bands, steps = coupling.audio_grid
            rows, columns = np.divmod(np.arange(bands * steps), steps)
            (start, end), (low, high) = sound.get_xlim(), sound.get_ylim()
            x, y = start + (columns + 0.5) * (end - start) / steps, low + (rows + 0.5) * (high - low) / bands
            circles(sound, x, y, of_audio, AUDIO)
            sound.set_title(f"weights of audio tokens:\n{spread(of_audio)}")
        shown = matrix.imshow(plan * 100, cmap="cividis", aspect="auto", interpolation="nearest")
        matrix.set(xlabel="image token", ylabel="audio token", title="transport plan")
        matrix.figure.colorbar(shown, ax=matrix, label="mass (%)")


def spread(weights: np.ndarray) -> str:
    """How uneven weights are: the least and the greatest, beside an even one."""
    low, high = weights.min() * len(weights), weights.max() * len(weights)
    return "all equal" if high - low < 1e-3 else f"{low:.2f} to {high:.2f} times the mean"


def circles(axes: "Axes", x: np.ndarray, y: np.ndarray, weights: np.ndarray, colour: str) -> None:
    """A circle for each weight, its area in proportion to it."""
    areas = 9000 / len(weights) * weights / max(weights.max(), 1e-12)
    axes.scatter(x, y, s=areas, c=colour, alpha=0.8, edgecolors="white", linewidths=0.6)


def frame_of(axes: "Axes", clip: Example) -> None:
    """The clip's image, or a remark that it has none."""
    if clip.image is None:
        axes.axis("off")
        axes.text(0.5, 0.5, "no image", ha="center", color=OTHER)
    else:
        picture(axes, clip.image)
