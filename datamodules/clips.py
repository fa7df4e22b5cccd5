"""The typed batches that pass between datamodules, stages and callbacks.

Shapes everywhere: B clips, T samples, F frames of the filterbank, N audio tokens, M image tokens, D width,
L text tokens, K candidates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:  # commands that read captions alone start without torch
    from torch import Tensor


@dataclass(frozen=True)
class ClipFormat:
    """What a stage wants of every clip. A medium whose size is None is neither read nor decoded.

    Attributes:
        sampling_rate: of the sound, in Hz; sounds at another rate are resampled.
        max_seconds: longer sounds are cut to their first `max_seconds`.
        image_size: height and width of the picture in pixels; others are resized and centre-cropped.
    """

    sampling_rate: int | None = None
    max_seconds: float | None = None
    image_size: int | None = None


class CaptionRows(TypedDict):
    """What `test_step` and `predict_step` of a captioning stage return; empty lists for a filler batch."""

    clip_ids: list[str]
    captions: list[str]
    references: list[list[str]]
    labels: list[list[str]]


@dataclass
class ClipBatch:
    """B clips, undecoded media left out.

    Attributes:
        clip_ids: B ids.
        valid: False for a filler batch, which keeps the ranks in step and counts nowhere.
        waveforms: (B, T) int16, mono, zero-padded at the end; None where the stage reads no sound.
        num_samples: (B,) int64, the length of each sound before padding.
        images: (B, 3, H, W) uint8; None where the stage reads no picture.
        captions: B lists of reference captions, empty where a corpus has none.
        labels: B lists of weak labels, empty where a corpus has none.
    """

    clip_ids: list[str]
    valid: bool
    waveforms: Tensor | None
    num_samples: Tensor | None
    images: Tensor | None
    captions: list[list[str]]
    labels: list[list[str]]

    def rows(self, captions: list[str]) -> CaptionRows:
        """The clips with captions of a stage's; a filler batch has none."""
        return CaptionRows(clip_ids=self.clip_ids, captions=captions, references=self.captions, labels=self.labels)


@dataclass
class Captions:
    """All captions of a split: `texts`, and the id of the clip of each."""

    texts: list[str]
    clip_ids: list[str]

    @cached_property
    def digest(self) -> str:
        """Of all of it, in order."""
        return hashlib.sha256("\0".join((*self.texts, *self.clip_ids)).encode()).hexdigest()


@dataclass
class CaptionBatch:
    """B captions without their sounds: `rows`, (B,) int64, are their numbers in the split; none in a filler batch."""

    rows: Tensor
    captions: list[str]


@dataclass
class SentenceBatch:
    """B sentences with their classes: `labels`, (B,) int64; none in a filler batch."""

    texts: list[str]
    labels: Tensor


class EmbeddedCaptionRows(CaptionRows):
    """Captions from single embeddings: of the sounds, `audio` (B, D), and those decoded in their place, (B, D)."""

    audio: Tensor
    decoded: Tensor


class AudibleCaptionRows(CaptionRows):
    """Captions with the probability that each is audible: metric A of audibility guidance is its mean."""

    audibility: list[float]
