"""Sounds and frames of clips out of their shards, and as the page embeds them."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile

from earshot.errors import InputError
from reports.clip_pages.document import Media
from reports.clip_pages.spectrogram import png

BUDGET = 22_000_000  # characters of all data URIs: the page stays below 25 MB
MediaBytes = dict[str, bytes]  # by file ending, as a sound's "flac" and a frame's "5.jpg"
TYPES = {"wav": "audio/wav", "flac": "audio/flac", "jpg": "image/jpeg"}


def read_media(folder: Path, clip_ids: Sequence[str]) -> dict[str, MediaBytes]:
    """The media of these clips of a packed split, those that come first before the budget is used up.

    The bytes are those of the shards, which browsers play and show.

    Raises:
        InputError: no such split, or a damaged one.
    """
    from datamodules.kept_clips import shards_with
    from datamodules.shards import read_index, read_samples

    wanted = {clip_id: place for place, clip_id in enumerate(clip_ids)}
    samples = [
        sample
        for shard in shards_with(read_index(folder), wanted)
        for sample in read_samples(shard, 0, shard.num_samples, media_of)
    ]
    found: dict[str, MediaBytes] = {}
    used = 0
    for sample in sorted(samples, key=lambda sample: wanted[sample.record["id"]]):
        used += sum(4 * (len(data) + 2) // 3 for data in sample.media.values())
        if used > BUDGET:
            break
        found[sample.record["id"]] = sample.media
    return found


def media_of(record: dict[str, Any]) -> list[str]:
    """The extensions of a sample's sound and of its middle frame, where it has them."""
    names = record["crc32"]
    frames = sorted(int(name[:-4]) for name in names if name.endswith(".jpg"))
    return [name for name in ("wav", "flac") if name in names][:1] + [
        f"{frame}.jpg" for frame in frames[len(frames) // 2 :][:1]
    ]


def as_media(found: dict[str, bytes]) -> Media:
    """The bytes of a sample's media, by extension, as data URIs, with the spectrogram of its first channel."""
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
                waveform, rate = file.read(dtype="float32", always_2d=True)[:, 0], file.samplerate
            if len(waveform):
                seconds, (picture, top) = len(waveform) / rate, png(waveform, rate)
                spectrogram = data_uri("image/png", picture)
        except (OSError, RuntimeError, ValueError):  # a sound that cannot be decoded has no picture
            pass
    return Media(audio, seconds, spectrogram, top, frame)


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as a URL that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def split_folder(made_by: dict[str, Any], config: dict[str, Any]) -> Path:
    """The folder of the split that a run tested: as its test noted it, or as its configuration says.

    Raises:
        InputError: neither does.
    """
    noted = (made_by.get("clips") or {}).get("folder")
    if isinstance(noted, str):
        return Path(noted)
    data = (config.get("data") or {}).get("init_args") or {}
    if data.get("root") and data.get("test"):
        return Path(data["root"], data["test"])
    raise InputError("expected a note of the clips' folder in scores.json, found none; give --data")
