"""From undecoded samples to tensors: only the media that a stage uses, and one of a clip's images or all."""

import hashlib
import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image, ImageOps
from torch.nn.utils.rnn import pad_sequence

from datamodules.clips import AudioFormat, ClipBatch, ClipFormat
from datamodules.pictures import PICTURE_ERRORS, read_picture
from datamodules.shards import Sample
from datamodules.waveform import int16_at
from earshot.errors import InputError

MAX_IMAGES = 10  # of a clip: the first of each second of AudioSet's ten
SKIP = "data.init_args.skip_broken: true (of all but embeddings of a split)"
CLIP_MEAN = (122, 116, 104)  # the pixel that CLIP subtracts


class BrokenClip(InputError):
    """A clip that lacks a medium that is wanted, or has one that is whole, as its CRC-32 says, and not decodable."""


@dataclass
class Clip:
    """A decoded sample: waveform (T,) int16, one image (3, H, W) or all (K, 3, H, W) uint8; None where not wanted.

    `also` is the waveform once more, as `ClipFormat.also` has it.
    """

    clip_id: str
    waveform: np.ndarray | None
    image: np.ndarray | None
    captions: list[str]
    labels: list[str]
    also: np.ndarray | None = None


def decode_audio(data: bytes, sampling_rate: int, max_seconds: float | None = None) -> np.ndarray:
    """The first channel of a WAV or FLAC file at `sampling_rate`: (T,) int16, at most `max_seconds` long."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        frames = -1 if max_seconds is None else math.ceil(max_seconds * file.samplerate)
        waveform: np.ndarray
        if file.subtype == "PCM_16" and file.samplerate == sampling_rate:
            waveform = file.read(frames, dtype="int16", always_2d=True)[:, 0]
        else:
            samples = file.read(frames, dtype="float32", always_2d=True)[:, 0]
            if not np.isfinite(samples).all():
                raise ValueError("samples that are not finite")
            waveform = int16_at(sampling_rate, samples, file.samplerate)
    if max_seconds is not None:
        waveform = waveform[: math.ceil(max_seconds * sampling_rate)]
    if not len(waveform):
        raise ValueError("audio without samples")
    return waveform


def decode_image(data: bytes, size: int, pad: bool = False) -> np.ndarray:
    """An image as (3, size, size) uint8 (`square`)."""
    return square(read_picture(io.BytesIO(data)), size, pad)


def square(image: Image.Image, size: int, pad: bool = False) -> np.ndarray:
    """An RGB image as (3, size, size) uint8.

    Args:
        image: of any size.
        size: in pixels.
        pad: scale the longer side and fill up with CLIP's mean colour, as LLaVA's authors do; False scales the shorter
            side and crops at the centre.
    """
    if image.size != (size, size):
        how = Image.Resampling.BICUBIC
        fitted = ImageOps.pad(image, (size, size), how, CLIP_MEAN) if pad else ImageOps.fit(image, (size, size), how)
        image = fitted
    return np.asarray(image).transpose(2, 0, 1)


@dataclass(frozen=True)
class ClipReader:
    """Names the media to read of a sample and decodes them.

    Args:
        clip_format: what the stage wants.
        frame_seed: seed and epoch that choose one of a clip's frames; None takes the middle one, 5 of 0 to 9.
        captions: by clip id, in place of the clips' own.
    """

    clip_format: ClipFormat
    frame_seed: tuple[int, int] | None = None
    captions: Mapping[str, list[str]] | None = None

    def wanted(self, record: dict[str, Any]) -> list[str]:
        """The extensions of the media to read, of those that there are: audio, then an image, or all images."""
        clip_id, names, found = record["id"], record["crc32"], []
        if self.clip_format.sampling_rate is not None:
            found = [name for name in ("wav", "flac") if name in names][:1]
        if self.clip_format.image_size is not None:
            frames = sorted(int(name[:-4]) for name in names if name.endswith(".jpg"))
            if self.clip_format.all_images:
                return found + [f"{frame}.jpg" for frame in frames[:MAX_IMAGES]]
            found += [f"{frames[self._choose(clip_id, len(frames))]}.jpg"] if frames else []
        return found

    def _choose(self, clip_id: str, count: int) -> int:
        if self.frame_seed is None:
            return count // 2
        digest = hashlib.blake2b(f"{self.frame_seed} {clip_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % count

    def decode(self, sample: Sample) -> Clip:
        """Decode what `wanted` named.

        Raises:
            BrokenClip: a medium that is missing, or cannot be decoded.
        """
        wants, record = self.clip_format, sample.record
        waveform, also, images = None, None, []
        for name in self.wanted(record):
            if name.endswith(".jpg"):
                images.append(_decoded(sample, name, decode_image, wants.image_size, wants.pad_images))
            else:
                waveform, also = (each and _decoded(sample, name, decode_audio, *each) for each in wants.audio)
        if wants.sampling_rate is not None and waveform is None:
            raise lacks(record["id"], "audio", "image")
        if wants.image_size is not None and not (images or wants.all_images):
            raise lacks(record["id"], "images", "audio")
        image = images[0] if images else None
        if wants.all_images and wants.image_size is not None:
            size = wants.image_size
            image = np.stack(images) if images else np.zeros((0, 3, size, size), np.uint8)  # (K, 3, H, W)
        return Clip(record["id"], waveform, image, self._captions(record), record.get("labels", []), also)

    def _captions(self, record: dict[str, Any]) -> list[str]:
        if self.captions is None:
            return list(record.get("captions", ()))
        if record["id"] not in self.captions:
            raise InputError(
                f"expected a caption of clip {record['id']!r} in the table data.captions, found none; caption the "
                "whole training split first: python train.py predict --config configs/pseudo_captions.yaml"
            )
        return self.captions[record["id"]] or [""]


def lacks(clip_id: str, medium: str, other: str) -> BrokenClip:
    """The error of a clip without audio, or without images, which captions of the other medium do not need."""
    return BrokenClip(
        f"expected {medium} of clip {clip_id!r}, found none; use inputs: {other}, leave out such clips with "
        f"{SKIP}, or pack the split without them"
    )


def _decoded(sample: Sample, extension: str, decode: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    try:
        return decode(sample.media[extension], *args)
    except (*PICTURE_ERRORS, RuntimeError) as error:  # the last is soundfile's
        found = re.sub(r"<_io\.BytesIO[^>]*>", f"{sample.key}.{extension}", str(error))
        raise BrokenClip(
            f"expected readable media of clip {sample.record['id']!r} in {sample.shard}, found: {found}; "
            f"pack the split without it, or leave it out with {SKIP}"
        ) from error


def collate(clips: list[Clip]) -> ClipBatch:
    """B clips as a batch; waveforms are padded with zeros to the longest."""
    images = num_images = None
    waveforms, num_samples = _stacked([clip.waveform for clip in clips]) or (None, None)
    pixels = [clip.image for clip in clips if clip.image is not None]
    if pixels and pixels[0].ndim == 4:  # all images of each clip
        num_images = torch.tensor([len(some) for some in pixels])  # (B,)
        images = torch.from_numpy(np.concatenate(pixels))  # (I, 3, H, W)
    elif pixels:
        images = torch.from_numpy(np.stack(pixels))  # (B, 3, H, W)
    return ClipBatch(
        clip_ids=[clip.clip_id for clip in clips],
        waveforms=waveforms,
        num_samples=num_samples,
        images=images,
        captions=[clip.captions for clip in clips],
        labels=[clip.labels for clip in clips],
        num_images=num_images,
        also=_stacked([clip.also for clip in clips]),
    )


def _stacked(waveforms: list[np.ndarray | None]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """B waveforms as (B, T), padded with zeros to the longest, and their lengths (B,); None where there are none."""
    audio = [waveform for waveform in waveforms if waveform is not None]
    if not audio:
        return None
    rows = [torch.from_numpy(waveform) for waveform in audio]
    return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])  # (B, T), (B,)


def joined(parts: list[ClipBatch]) -> ClipBatch:
    """Parts of a batch as one batch; waveforms are padded with zeros to the longest."""
    if len(parts) == 1:
        return parts[0]

    def together(tensors: list[torch.Tensor | None]) -> torch.Tensor | None:
        found = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(found) if found else None

    own = [(part.waveforms, part.num_samples) for part in parts]
    waveforms, num_samples = _together(own) or (None, None)
    return ClipBatch(
        clip_ids=list(chain.from_iterable(part.clip_ids for part in parts)),
        waveforms=waveforms,
        num_samples=num_samples,
        images=together([part.images for part in parts]),
        captions=list(chain.from_iterable(part.captions for part in parts)),
        labels=list(chain.from_iterable(part.labels for part in parts)),
        num_images=together([part.num_images for part in parts]),
        also=_together([part.also or (None, None) for part in parts]),
    )


def _together(
    parts: list[tuple[torch.Tensor | None, torch.Tensor | None]],
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Waveforms (B, T) of parts of a batch, padded with zeros to the longest, and their lengths (B,); None without."""
    audio = [(waveforms, lengths) for waveforms, lengths in parts if waveforms is not None and lengths is not None]
    if not audio:
        return None
    rows = list(chain.from_iterable(waveforms for waveforms, _ in audio))
    return pad_sequence(rows, batch_first=True), torch.cat([lengths for _, lengths in audio])


def filler_batch(clip_format: ClipFormat) -> ClipBatch:
    """No clips, and tensors of one silent black clip, so that every rank can run a forward."""
    image = None
    waveform, also = (each and _silence(each) for each in clip_format.audio)
    if clip_format.image_size is not None:
        shape = (1, 3) if clip_format.all_images else (3,)
        image = np.zeros((*shape, clip_format.image_size, clip_format.image_size), np.uint8)
    return replace(collate([Clip("", waveform, image, [], [], also)]), clip_ids=[], captions=[], labels=[])


def _silence(audio: AudioFormat) -> np.ndarray:
    return np.zeros(math.ceil(min(1.0, audio.max_seconds or 1.0) * audio.sampling_rate), np.int16)
