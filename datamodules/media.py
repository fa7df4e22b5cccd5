"""Audio and frames of any media file that FFmpeg reads, through PyAV."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from PIL import Image

NUM_FRAMES = 10  # the first of each second (DALI, section 4)
SILENCE = 1e-4  # a peak of -80 dB of full scale
LOUDEST = 8.0  # times full scale; less is clipped, as codecs and mixes overshoot, more is another scale
EXACT_SEEK = {"wav", "flac", "ogg", "aiff", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}  # others: from the beginning
ESTIMATED = {"mp3", "aac"}  # whose duration may be a guess from the first frames' bit rate
MATROSKA_TIME = re.compile(r"(\d+):(\d+):(\d+\.?\d*)")  # 00:00:10.000000000
XING = re.compile(rb"(?:Xing|Info)\0{3}[\x03\x07\x0b\x0f](.{4})(.{4})", re.DOTALL)  # of an MP3: frames and bytes
LEEWAY = 0.5  # seconds that a file may end before its header says
SCHEME = "file:"

Mono = Literal["mean", "first"]
Media = Path | InputContainer  # a file, or one that is `opened`


class MediaError(Exception):
    """A file, or a part of it, that cannot be used.

    Attributes:
        reason: one of a few words to count by: "broken", "no audio", "no images", "not finite", "silent", "out of
            range", "too short", "no start time", "not FLAC".
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Audio:
    """A part of a file's audio.

    Attributes:
        waveform: (T,) float32, in -1 to 1.
        sampling_rate: of the file, in Hz.
        start: where the part begins, in seconds.
    """

    waveform: np.ndarray
    sampling_rate: int
    start: float

    @property
    def seconds(self) -> float:
        """How long the part is."""
        return len(self.waveform) / self.sampling_rate

    def require_usable(self) -> None:
        """Check the samples.

        Raises:
            MediaError: some are not finite or far above full scale, or there is nothing to hear.
        """
        if not np.isfinite(self.waveform).all():
            raise MediaError("not finite", f"{np.count_nonzero(~np.isfinite(self.waveform))} samples are not finite")
        peak = float(np.abs(self.waveform).max(initial=0.0))
        if peak < SILENCE:
            raise MediaError("silent", "no sample is above -80 dB of full scale")
        if peak > LOUDEST:
            raise MediaError("out of range", f"samples up to {peak:g}, where full scale is 1")


def read_audio(path: Media, start: float = 0.0, seconds: float | None = None, mono: Mono = "mean") -> Audio:
    """The audio from `start` on, at most `seconds` long, as one channel.

    Args:
        path: of an audio or video file, or what is `opened`; likewise below.
        start: in seconds from the file's beginning.
        seconds: length; None reads to the end.
        mono: "mean" of the channels, or the "first" of them, which the authors of CAV-MAE take.

    Raises:
        MediaError: it cannot be decoded, ends before its header says, or has no audio there.
    """
    audio = next(audio_windows(path, start, seconds, mono), None)
    if audio is None:
        raise MediaError("too short", f"no audio after {start:g} s")
    return audio


def audio_windows(
    path: Media, start: float = 0.0, seconds: float | None = None, mono: Mono = "mean"
) -> Iterator[Audio]:
    """The audio from `start` on in parts of `seconds`, the last of which may be shorter; see `read_audio`."""
    with opened(path) as container:
        stream = _first(container.streams.audio, "no audio", "audio")
        rate = stream.rate
        size = None if seconds is None else max(1, math.ceil(seconds * rate))
        parts: list[np.ndarray] = []  # decoded and not given yet
        held = given = 0  # samples
        for part in _decoded(container, stream, start, mono):
            parts.append(part)
            held += len(part)
            while size is not None and held >= size:
                whole = np.concatenate(parts)
                yield Audio(whole[:size], rate, start + given / rate)
                parts, held, given = [whole[size:]], held - size, given + size
        if held:
            _require_whole(container, stream, start + (given + held) / rate)
            yield Audio(np.concatenate(parts), rate, start + given / rate)
        elif not given and not start:
            raise MediaError("too short", "the file has no samples")


def duration(path: Path) -> float:
    """How long a file is, in seconds, by its header or packets; its audio is decoded where neither says."""
    with opened(path) as container:
        if container.format.name in ESTIMATED:
            return float(sum((packet.duration or 0) * packet.time_base for packet in container.demux(audio=0)))
        if container.duration:
            return float(container.duration / av.time_base)
    return sum(audio.seconds for audio in audio_windows(path, seconds=60.0))


def _first(streams: Sequence[Any], reason: str, medium: str) -> Any:
    """The first stream of a medium; without one the file is refused for the reason."""
    if not streams:
        raise MediaError(reason, f"the file has no {medium} stream")
    if streams[0].codec_context is None:
        raise MediaError("broken", f"FFmpeg has no decoder for its {medium}")
    return streams[0]


def _decoded(container: Any, stream: Any, start: float, mono: Mono) -> Iterator[np.ndarray]:
    """The samples (T,) after `start`, some tens of frames at a time."""
    rate = stream.rate
    origin = (container.start_time or 0) / av.time_base
    if start and container.format.name in EXACT_SEEK:
        container.seek(int((max(0.0, start - 1.0) + origin) * av.time_base))  # codecs need a few frames to settle
    frames: list[np.ndarray] = []
    behind = None  # samples to drop until `start`
    for frame in container.decode(stream):
        if frame.sample_rate != rate:
            raise MediaError("broken", f"the sampling rate changes from {rate} to {frame.sample_rate} Hz")
        if behind is None:
            begin = 0.0 if frame.time is None else frame.time - origin
            behind = max(0, round((start - begin) * rate))
        samples = frame.to_ndarray()  # (channels, T), or (1, T * channels)
        if not frame.format.is_planar:
            samples = samples.reshape(-1, frame.layout.nb_channels).T
        if behind >= samples.shape[1]:
            behind -= samples.shape[1]
            continue
        if frames and (len(frames) == 64 or (len(samples), samples.dtype) != (len(frames[0]), frames[0].dtype)):
            yield _one_channel(frames, mono)
            frames = []
        frames.append(samples[:, behind:])
        behind = 0
    if frames:
        yield _one_channel(frames, mono)


def _one_channel(frames: list[np.ndarray], mono: Mono) -> np.ndarray:
    """Frames of (channels, T) in FFmpeg's number formats as (T,) float32."""
    channels = np.concatenate(frames, axis=1)
    kind = channels.dtype
    one = channels[0] if mono == "first" or len(channels) == 1 else channels.mean(0, dtype=np.float32)
    waveform: np.ndarray = one.astype(np.float32)
    if kind == np.uint8:
        waveform = (waveform - 128) / 128
    elif kind.kind == "i":
        waveform /= -float(np.iinfo(kind).min)
    return waveform


def _require_whole(container: Any, stream: Any, end: float) -> None:
    """Refuse a file whose audio ends, at `end` seconds, before its header says."""
    promised, most, kind = 0.0, math.inf, container.format.name
    if stream.duration is not None and kind not in ESTIMATED:
        promised = float(stream.duration * stream.time_base)
    elif time := MATROSKA_TIME.fullmatch(stream.metadata.get("DURATION", "")):  # when it ends, by FFmpeg
        hours, minutes, seconds = map(float, time.groups())
        promised = 3600 * hours + 60 * minutes + seconds - float((stream.start_time or 0) * stream.time_base)
    if kind in ("wav", "mp3"):  # which may say how many bytes they have
        path = Path(container.name.removeprefix(SCHEME))
        found, size = path.stat().st_size, 0
        with path.open("rb") as file:
            head = file.read(8 if kind == "wav" else 2**20)  # an MP3's pictures come first
        if kind == "wav":
            size = int.from_bytes(head[4:], "little") + 8
        elif tag := XING.search(head):  # some count the pictures as bytes: no more is promised than its frames hold
            frames, size = (int.from_bytes(each, "big") for each in tag.groups())
            found, most = found - tag.start(), frames * stream.codec_context.frame_size / stream.rate
        if found < size < 2**31 - 1:  # a WAV that was piped says 2^31 or 2^32
            promised = min(end * size / found, most)
    if end < promised - LEEWAY:
        raise MediaError("broken", f"the file ends after {end:.1f} s, its header says {promised:.1f} s")


def read_frames(
    path: Media, start: float = 0.0, count: int = NUM_FRAMES, size: int | None = 336, threads: int = 0
) -> dict[int, Image.Image]:
    """The first frame of each of `count` seconds from `start` on, by second; fewer where the video ends.

    Args:
        path: of a video.
        start: in seconds from the file's beginning.
        count: seconds.
        size: frames are scaled by the shorter side and cropped at the centre to this square; None keeps their size.
        threads: that decode; 0 takes as many as FFmpeg likes.

    Raises:
        MediaError: it cannot be decoded, or has no frame there.
    """
    frames: dict[int, Image.Image] = {}
    with opened(path) as container:
        stream = _first(container.streams.video, "no images", "video")
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        begin = (container.start_time or 0) / av.time_base + start
        if start or container is path:  # which was read already
            container.seek(int(begin * av.time_base))  # to the key frame before
        reformatter = VideoReformatter()
        for second, frame in _first_frames(container, stream, begin, count):
            frames[second] = _image(frame, size, reformatter)
    if not frames:
        raise MediaError("no images", f"no frame after {start:g} s")
    return frames


def _first_frames(container: Any, stream: Any, begin: float, count: int) -> Iterator[tuple[int, Any]]:
    """The first frame of each of `count` seconds from `begin` on, with its second.

    The packets say beforehand which frames these are. Of the others the decoder skips those that no other frame refers
    to, half of them in most files; this changes no pixel of the rest.
    """
    packets: list[Any] = []
    firsts: dict[int, int] = {}  # by second, the time of its first frame
    for packet in container.demux(stream):
        packets.append(packet)
        if packet.dts is not None and packet.dts * stream.time_base > begin + count + 1:
            break
    times = [packet.pts for packet in packets if packet.size]
    for time in sorted(time for time in times if time is not None):
        firsts.setdefault(_second(time * stream.time_base, begin), time)
    wanted = {time for second, time in firsts.items() if 0 <= second < count}
    missing = {second for second in firsts if 0 <= second < count}
    flush = av.Packet()
    flush.stream, flush.time_base = stream, stream.time_base
    for packet in [*packets, *([flush] if packets[-1].size else [])]:
        if None not in times:
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        for frame in packet.decode():
            second = -1 if frame.time is None else _second(frame.time, begin)
            if second in missing:
                missing.remove(second)
                yield second, frame
        if not missing:
            return


def _second(time: float, begin: float) -> int:
    return math.floor(float(time) - begin + 1e-6)


def _image(frame: Any, size: int | None, reformatter: VideoReformatter) -> Image.Image:
    if size is None:
        image: Image.Image = frame.to_image()
    else:
        scale = size / min(frame.width, frame.height)
        width, height = (max(size, round(scale * side)) for side in (frame.width, frame.height))
        scaled: Any = reformatter.reformat(frame, width, height, "rgb24", interpolation="BICUBIC")
        image = scaled.to_image()
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image  # a phone held upright


@contextmanager
def opened(path: Media) -> Iterator[Any]:
    """A container that opens no other file, whatever it names; errors of FFmpeg become a MediaError.

    The functions above take it in place of a path, so that a file of audio and video is opened once. Audio is to be
    read first, and once.
    """
    try:
        if isinstance(path, InputContainer):
            yield path
        elif not path.stat().st_size:
            raise MediaError("broken", "the file is empty")
        else:
            options = {"protocol_whitelist": "file"}
            with av.open(f"{SCHEME}{path}", options=options, metadata_errors="replace") as container:
                yield container
    except (av.FFmpegError, UnicodeDecodeError, EOFError) as error:
        raise MediaError("broken", getattr(error, "strerror", None) or str(error)) from error
