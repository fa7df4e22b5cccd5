"""Small packed splits whose content tells what was read: clip i is i + 1 samples of value i."""

import io
import json
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from datamodules.shards import INDEX, write_shards

Media = dict[str, bytes]


def wav(samples: np.ndarray, rate: int = 1000, subtype: str = "PCM_16", format: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def jpeg(value: int | tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, value if isinstance(value, tuple) else (value,) * 3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def clip_media(number: int, frames: int = 10) -> Media:
    """Sound: number + 1 samples of value number; frame k is grey 20 k."""
    sound = wav(np.full(number + 1, number, np.int16))
    return {"wav": sound, **{f"{frame}.jpg": jpeg(20 * frame) for frame in range(frames)}}


def pack_counts(folder: Path, counts: list[int], frames: int = 2) -> list[str]:
    """A split of shards of these sizes; returns the ids, which hold a dot, in order."""
    ids, entries, number = [], [], 0
    for shard, count in enumerate(counts):
        samples = []
        for _ in range(count):
            ids.append(f"clip.{number}")
            samples.append((ids[-1], clip_media(number, frames), {"captions": [f"caption {number}"]}))
            number += 1
        write_shards(folder / "one", samples, count)
        (folder / "one" / "000000.tar").rename(folder / f"{shard:06d}.tar")
        entries.append({"url": f"{shard:06d}.tar", "nsamples": count})
    (folder / INDEX).write_text(json.dumps({"shardlist": entries}))
    return ids
