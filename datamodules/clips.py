"""The typed batches that pass between datamodules, stages and callbacks.

Shapes everywhere: B clips, T samples, F frames of the filterbank, N audio tokens, M image tokens, D width,
L text tokens, K candidates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict

from earshot.errors import InputError

if TYPE_CHECKING:  # commands that read captions alone start without torch
    import numpy as np
    from torch import Tensor


class HasAudioFormat(Protocol):
    """A model that reads audio, at a sampling rate in Hz and up to a length in seconds; None takes any length."""

    @property
    def sampling_rate(self) -> int:
        """Of its waveforms."""

    @property
    def max_seconds(self) -> float | None:
        """Of its clips."""


class AudioFormat(NamedTuple):
    """Audio as a model takes it: sampling rate in Hz, and how many seconds at most; None takes any length."""

    sampling_rate: int
    max_seconds: float | None


@dataclass(frozen=True)
class ClipFormat:
    """What a stage wants of every clip. A medium whose size is None is neither read nor decoded.

    Attributes:
        sampling_rate: of the audio, in Hz; audio at another rate is resampled.
        max_seconds: longer audio is cut to its first `max_seconds`.
        image_size: height and width of the image in pixels; others are resized and centre-cropped.
        pad_images: images that are not square are filled up instead of cropped.
        all_images: all images of the clip, ten at most, in place of one.
        also: the audio once more, as another model takes it.
    """

    sampling_rate: int | None = None
    max_seconds: float | None = None
    image_size: int | None = None
    pad_images: bool = False
    all_images: bool = False
    also: AudioFormat | None = None

    @property
    def audio(self) -> tuple[AudioFormat | None, AudioFormat | None]:
        """The forms in which the audio is read: the stage's own and the other one."""
        own = None if self.sampling_rate is None else AudioFormat(self.sampling_rate, self.max_seconds)
        return own, self.also

    def with_audio_for(self, model: HasAudioFormat | None) -> ClipFormat:
        """This with the audio as another model takes it, too; once where the two take it alike, or one takes none."""
        if model is None:
            return self
        wanted = AudioFormat(model.sampling_rate, model.max_seconds)
        if self.sampling_rate is None:
            return replace(self, sampling_rate=wanted.sampling_rate, max_seconds=wanted.max_seconds)
        return self if self.audio[0] == wanted else replace(self, also=wanted)


class CaptionRows(TypedDict):
    """What `test_step` and `predict_step` of a captioning stage return; empty lists for a filler batch."""

    clip_ids: list[str]
    captions: list[str]
    references: list[list[str]]
    labels: list[list[str]]


class Reason(NamedTuple):
    """Something that guided a caption: what it is, and texts with their scores, the highest first."""

    what: str
    texts: list[tuple[str, float]]


class TransportPlan(TypedDict):
    """How the mass of a sound's tokens is moved onto those of a frame.

    Attributes:
        audio_grid: rows (frequencies, low to high) and columns (time) of the audio tokens, row by row.
        seconds: that the columns cover, from the clip's beginning.
        hz: lower and upper edge of the rows, which are equally wide in mel = 1127 ln(1 + f / 700).
        image_grid: rows (from the top) and columns of the image tokens, row by row.
        padded: whether the image was filled up to a square; False, cropped at its centre.
        masses: audio token, image token, mass; the masses sum to 1.
    """

    audio_grid: tuple[int, int]
    seconds: float
    hz: tuple[float, float]
    image_grid: tuple[int, int]
    padded: bool
    masses: list[tuple[int, int, float]]


class TokenChoices(TypedDict):
    """What each token of a caption was chosen from.

    Attributes:
        scores: the names of a candidate's scores.
        tokens: for each token its candidates, the chosen one first, each with its scores.
    """

    scores: list[str]
    tokens: list[list[tuple[str, list[float]]]]


class Explanation(TypedDict, total=False):
    """How a clip was captioned, as JSON; what a method does not have is left out.

    Attributes:
        reasons: what guided the caption as a whole.
        tokens: what its tokens were chosen from (guidance).
        transport: between the clip's audio tokens and its frame's (DALI).
    """

    reasons: list[Reason]
    tokens: TokenChoices
    transport: TransportPlan


def explained(found: dict[str, list[list[tuple[str, float]]]]) -> list[Explanation]:
    """What guided each of B captions: texts with their scores, by what they are; without those that no clip has."""
    of_clips = zip(*(zip(repeat(what), of_clip) for what, of_clip in found.items() if of_clip))
    reasons = ([Reason(what, texts) for what, texts in of_clip if texts] for of_clip in of_clips)
    return [Explanation(reasons=some) if some else {} for some in reasons]


class LabelDistance(NamedTuple):
    """What `predict_step` of AudioSet's filter returns of each clip.

    Attributes:
        clip_id: the id.
        distance: between what is seen and the labels; None where the clip has no image or no label.
        labels: the weak labels.
        captions: of the clip's images, in order.
    """

    clip_id: str
    distance: float | None
    labels: list[str]
    captions: list[str]


@dataclass
class ClipBatch:
    """B clips; a filler batch has no ids, and tensors of one silent black clip.

    Attributes:
        clip_ids: B ids.
        waveforms: (B, T) int16, mono, zero-padded at the end; None where the stage reads no audio.
        num_samples: (B,) int64, the length of each waveform before padding.
        images: (B, 3, H, W) uint8; None where the stage reads no images. Where it reads all images of each clip, those
            of the first clip, then of the second ..., (I, 3, H, W).
        captions: B lists of reference captions, empty where a corpus has none.
        labels: B lists of weak labels, empty where a corpus has none.
        num_images: (B,) int64, the number of images of each clip, which may be 0; None where each has one.
        also: the audio once more, as `ClipFormat.also` has it: waveforms (B, T) and their lengths (B,).
    """

    clip_ids: list[str]
    waveforms: Tensor | None
    num_samples: Tensor | None
    images: Tensor | None
    captions: list[list[str]]
    labels: list[list[str]]
    num_images: Tensor | None = None
    also: tuple[Tensor, Tensor] | None = None

    @property
    def valid(self) -> bool:
        """Whether there are clips; a filler batch keeps the ranks in step and counts nowhere."""
        return bool(self.clip_ids)

    def rows(self, captions: list[str]) -> CaptionRows:
        """The clips with the captions that a stage made of them; none of a filler batch."""
        return CaptionRows(clip_ids=self.clip_ids, captions=captions, references=self.captions, labels=self.labels)

    def first(self, number: int) -> ClipBatch:
        """The first `number` clips, each of which has one image or none."""
        media = (self.waveforms, self.num_samples, self.images)
        waveforms, num_samples, images = (None if each is None else each[:number] for each in media)
        texts = self.clip_ids[:number], self.captions[:number], self.labels[:number]
        return ClipBatch(texts[0], waveforms, num_samples, images, *texts[1:])

    def first_references(self) -> list[str]:
        """The first reference of every clip.

        Raises:
            InputError: a clip has none.
        """
        if mute := [clip_id for clip_id, references in zip(self.clip_ids, self.captions) if not references]:
            raise InputError(
                f"expected a caption of every clip, found none of clip {mute[0]!r}; name a split that has them, or "
                "pack the clips with theirs"
            )
        return [references[0] for references in self.captions]


@dataclass
class Captions:
    """All captions of a split: `texts`, and the id of the clip of each."""

    texts: list[str]
    clip_ids: list[str]

    @cached_property
    def digest(self) -> str:
        """A digest of all texts and ids, in order."""
        return hashlib.sha256("\0".join((*self.texts, *self.clip_ids)).encode()).hexdigest()

    def drawn(self, num_clips: int | None) -> Captions:
        """The captions of `num_clips` clips, the same ones always; all of them with None, or if there are no more.

        The clips are those whose ids have the smallest digests: a sample that does not depend on how a corpus is
        ordered.

        Raises:
            InputError: fewer than one clip is wanted.
        """
        if num_clips is None:
            return self
        if num_clips < 1:
            raise InputError(f"expected num_clips of at least 1, found {num_clips}; correct it")
        ids = sorted(set(self.clip_ids), key=lambda clip_id: hashlib.sha256(clip_id.encode()).digest())
        kept = set(ids[:num_clips])
        rows = [row for row, clip_id in enumerate(self.clip_ids) if clip_id in kept]
        return Captions([self.texts[row] for row in rows], [self.clip_ids[row] for row in rows])


@dataclass
class CaptionBatch:
    """B captions without their audio: `rows`, (B,) int64, are their numbers in the split; none in a filler batch."""

    rows: np.ndarray  # on the CPU, as the embeddings are: to fetch numbers from a GPU, a step would wait for it
    captions: list[str]

    @property
    def valid(self) -> bool:
        """Whether there are captions."""
        return bool(self.captions)


@dataclass
class SentenceBatch:
    """B sentences with their classes: `labels`, (B,) int64; none in a filler batch."""

    texts: list[str]
    labels: Tensor

    @property
    def valid(self) -> bool:
        """Whether there are sentences."""
        return bool(self.texts)


class AlignedTokens(TypedDict):
    """What `validation_step` of a stage that aligns two encoders returns: tokens (B, N, D) and (B, M, D) of B clips."""

    audio_tokens: Tensor
    image_tokens: Tensor


class Coupling(NamedTuple):
    """How much of each audio token goes to which image token: plan (B, N, M), and the weights (B, N) and (B, M).

    `audio_grid`, where it is known, is the number of bands and of time steps that the N audio tokens lie on: the lowest
    band first, and in each band the earliest token first.
    """

    plan: Tensor
    audio_weights: Tensor
    image_weights: Tensor
    audio_grid: tuple[int, int] | None = None


class EmbeddedCaptionRows(CaptionRows):
    """Captions from single embeddings (B, D): of the audio, and those that were decoded in their place."""

    audio: Tensor
    decoded: Tensor
