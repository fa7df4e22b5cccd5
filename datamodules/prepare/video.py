"""A video file as a clip: its audio and the first frame of each of its first ten seconds."""

import io
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

NUM_FRAMES = 10


def read_audio(path: Path) -> bytes:
    """The first audio stream as FLAC with 16 bits, at its own rate and with its own channels.

    Raises:
        ValueError: the video has none, or an empty one.
    """
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise ValueError("no audio")
        stream = container.streams.audio[0]
        to_int16 = av.AudioResampler(format="s16")
        packed = [
            part.to_ndarray().reshape(-1, part.layout.nb_channels)  # (T, channels)
            for frame in container.decode(stream)
            for part in to_int16.resample(frame)
        ]
        if not packed:
            raise ValueError("audio without samples")
        rate = stream.rate
    buffer = io.BytesIO()
    soundfile.write(buffer, np.concatenate(packed), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def read_frames(path: Path) -> dict[int, Image.Image]:
    """The first frame of each of the first ten seconds, by second; fewer of a shorter video.

    Raises:
        ValueError: the file has no images.
    """
    frames: dict[int, Image.Image] = {}
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no images")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        begin = None
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            begin = frame.time if begin is None else begin
            second = int(frame.time - begin + 1e-6)
            if second >= NUM_FRAMES:
                break
            if second not in frames:
                frames[second] = frame.to_image()  # type: ignore[no-untyped-call]  # of PyAV
    if not frames:
        raise ValueError("no images")
    return frames
