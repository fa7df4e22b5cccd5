"""Sounds and frames of clips out of their shards, and as the page embeds them."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from earshot.data_uri import data_uri
from earshot.errors import InputError
from reports.clip_pages.document import Media
from reports.clip_pages.spectrogram import png

LARGEST = 200_000  # bytes of a sound that is embedded as it is; others become MP3, which every browser plays
RATE = 24_000  # of these, in Hz
QUALITY = 0.7  # of 0, the best, to 1: 56 kbit/s at this rate
AT_ONCE = 60  # clips that are read together, the page's usual number
MediaBytes = dict[str, bytes]  # by file ending, as a sound's "flac" and a frame's "5.jpg"
SOUNDS = ("wav", "flac")  # in shards
TYPES = {  # of what browsers play and show, by file ending
    "wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg", "opus": "audio/ogg",
    "m4a": "audio/mp4", "jpg": "image/jpeg",
}  # fmt: skip


def read_media(folder: Path, clip_ids: Sequence[str]) -> Iterator[tuple[str, MediaBytes]]:
    """Sound and middle frame of these clips of a packed split, as the bytes of the shards.

    Raises:
        InputError: no such split, or a damaged one.
    """
    from datamodules.kept_clips import shards_with
    from datamodules.shards import read_index, read_samples

    shards = read_index(folder)
    for start in range(0, len(clip_ids), AT_ONCE):
        for shard in shards_with(shards, set(clip_ids[start : start + AT_ONCE])):
            for sample in read_samples(shard, 0, shard.num_samples, media_of):
                yield sample.record["id"], sample.media


def media_of(record: dict[str, Any]) -> list[str]:
    """The extensions of a sample's sound and of its middle frame, where it has them."""
    names = record["crc32"]
    frames = sorted(int(name[:-4]) for name in names if name.endswith(".jpg"))
    return [name for name in SOUNDS if name in names][:1] + [f"{frame}.jpg" for frame in frames[len(frames) // 2 :][:1]]


def as_media(found: dict[str, bytes]) -> Media:
    """The bytes of a sample's media, by extension, as data URIs, with the spectrogram of its first channel.

    Sounds of up to 200 kB and all frames stay as they are, which browsers play and show; of larger sounds the page gets
    the mean of the channels at 24 kHz as MP3.
    """
    audio = spectrogram = frame = None
    seconds = top = 0.0
    for name, data in found.items():
        kind = TYPES[name.rpartition(".")[2]]
        if kind.startswith("image"):
            frame = data_uri(kind, data)
            continue
        audio = data_uri(kind, data)
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                waveform, rate = file.read(dtype="float32", always_2d=True), file.samplerate  # (T, channels)
            if len(waveform):
                seconds, (picture, top) = len(waveform) / rate, png(waveform[:, 0], rate)
                spectrogram = data_uri("image/png", picture)
                audio = data_uri(TYPES["mp3"], mp3(waveform, rate)) if len(data) > LARGEST else audio
        except (OSError, RuntimeError, ValueError):  # a sound that cannot be decoded has no picture
            pass
    return Media(audio, seconds, spectrogram, top, frame)


def mp3(waveform: np.ndarray, rate: int) -> bytes:
    """The mean of the channels of a waveform (T, channels), small enough for a page."""
    written = io.BytesIO()
    mono = np.clip(soxr.resample(waveform.mean(1), rate, RATE), -1, 1)
    soundfile.write(written, mono, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=QUALITY)
    return written.getvalue()


def split_folder(made_by: dict[str, Any], config: dict[str, Any]) -> Path:
    """The folder of the split that a run tested: as its test noted it, or as its configuration says.

    Raises:
        InputError: neither does.
    """
    noted = (made_by.get("clips") or {}).get("folder")
    if isinstance(noted, str):
        return Path(noted)
    data = data_arguments(config)
    if data.get("root") and data.get("test"):
        return Path(str(data["root"]), str(data["test"]))
    raise InputError("expected a note of the clips' folder in scores.json, found none; give --data")


def data_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the datamodule in a configuration; nothing where it has none."""
    found: Any = config
    for key in ("data", "init_args"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
