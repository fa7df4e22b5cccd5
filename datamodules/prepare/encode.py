"""A media file, or a part of it, as the media of one clip: 16-bit mono audio and the first frame of each second."""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from PIL import Image, ImageOps

from datamodules.endings import VIDEO
from datamodules.media import (
    NUM_FRAMES,
    Audio,
    Media,
    MediaError,
    Mono,
    duration,
    opened,
    read_audio,
    read_frames,
)
from datamodules.pictures import PICTURE_ERRORS, read_picture
from datamodules.waveform import int16_at

JPEG_QUALITY = 95
ALREADY_CUT = 1.0  # seconds that a file may be longer than its segment and still be the segment


@dataclass(frozen=True)
class Encoding:
    """How clips are stored.

    Args:
        format: of the audio, "flac" or "wav", with 16 bits.
        sampling_rate: in Hz; None keeps the file's.
        mono: "mean" of the channels, or the "first".
        image_size: frames are scaled by the shorter side and cropped at the centre to this square; None keeps sizes.
        min_seconds: shorter clips are left out.
        max_seconds: longer ones are cut to their beginning; None keeps them whole.
        require_images: leave out clips without a frame, which are otherwise packed with their audio alone.
    """

    format: str = "flac"
    sampling_rate: int | None = None
    mono: Mono = "mean"
    image_size: int | None = 336
    min_seconds: float = 0.1
    max_seconds: float | None = None
    require_images: bool = False


@dataclass(frozen=True)
class Source:
    """Where the media of a clip are.

    Attributes:
        path: of an audio or video file.
        image: of an audio file, its one frame.
        start: of the clip in the original recording, in seconds; None where it is not known.
        seconds: of the clip; None takes the whole file.
        cut: whether the file's name says that it begins at `start`.
    """

    path: Path
    image: Path | None = None
    start: float | None = None
    seconds: float | None = None
    cut: bool = True


@dataclass
class Encoded:
    """What became of a clip.

    Attributes:
        media: by extension; empty where the clip is left out.
        reason: "packed", "packed without images", or why it is left out: a `MediaError.reason`.
        detail: more on it, one line.
    """

    media: dict[str, bytes] = field(default_factory=dict)
    reason: str = "packed"
    detail: str = ""


def encode(source: Source, encoding: Encoding) -> Encoded:
    """Decode a clip and encode it as it is stored; a file that cannot be used becomes a reason, never an exception."""
    try:
        with opened(source.path) as file:
            start, seconds = _place(source), _shortest(source.seconds, encoding.max_seconds)
            audio = read_audio(file, start, seconds, encoding.mono)
            if audio.seconds < encoding.min_seconds:
                raise MediaError("too short", f"{audio.seconds:.3g} s of audio")
            audio.require_usable()
            media = {encoding.format: _encoded_audio(audio, encoding)}
            problem = ""
            try:
                images = _images(source, file, start, seconds, encoding)
                media |= {f"{second}.jpg": _jpeg(image) for second, image in images}
            except MediaError as error:
                if encoding.require_images or error.reason != "no images":
                    raise
                problem = str(error)
        return Encoded(media, "packed without images" if len(media) == 1 else "packed", problem)
    except MediaError as error:
        return Encoded(reason=error.reason, detail=" ".join(str(error).split()))
    except Exception as error:  # of one file among many thousands: it is named, and the others are packed
        return Encoded(reason="broken", detail=" ".join(f"{type(error).__name__}: {error}".split()))


def _place(source: Source) -> float:
    """Where the clip begins in the file.

    A file is already cut where its name has the clip's start, or where it is at most a second longer than the clip.
    """
    if source.seconds is None or source.cut or source.start == 0:
        return 0.0
    length = duration(source.path)
    if length <= source.seconds + ALREADY_CUT:
        return 0.0
    if source.start is None:
        raise MediaError("no start time", f"the file is {length:.1f} s long, and the table has no start_time to cut at")
    return source.start


def _shortest(*seconds: float | None) -> float | None:
    return min((value for value in seconds if value is not None), default=None)


def _encoded_audio(audio: Audio, encoding: Encoding) -> bytes:
    rate = encoding.sampling_rate or audio.sampling_rate
    samples = int16_at(rate, audio.waveform, audio.sampling_rate)  # (T,)
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, samples, rate, format=encoding.format.upper(), subtype="PCM_16")
    except soundfile.LibsndfileError:  # of most rates above 65,535 Hz
        if encoding.format != "flac":
            raise
        raise MediaError("not FLAC", f"FLAC cannot hold {rate:,} Hz; give --sampling-rate or --format wav") from None
    return buffer.getvalue()


def _images(
    source: Source, file: Media, start: float, seconds: float | None, encoding: Encoding
) -> list[tuple[int, Image.Image]]:
    """The clip's frames by second.

    Raises:
        MediaError: there are none, or the video cannot be decoded.
    """
    if source.image is not None:
        try:
            image = read_picture(source.image)
        except PICTURE_ERRORS as error:
            raise MediaError("no images", f"{source.image.name}: {error}") from None
        size = encoding.image_size
        return [(0, image if size is None else ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))]
    if source.path.suffix.lower() not in VIDEO:
        raise MediaError("no images", "an audio file without an image of the same name")
    count = NUM_FRAMES if seconds is None else min(NUM_FRAMES, math.ceil(seconds))
    return list(read_frames(file, start, count, encoding.image_size, threads=1).items())


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
