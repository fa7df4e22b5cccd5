"""Media whose content tells what was read: tones of chosen frequencies, and frames whose grey is the second."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 16000
PEAK = 0.5
GREY = 20  # frame of second k: GREY * (k % 12)


def tone(seconds: float, frequency: float = 440.0, rate: int = RATE, peak: float = PEAK) -> np.ndarray:
    """(T,) float32."""
    return (peak * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def write_audio(path: Path, samples: np.ndarray, rate: int = RATE, codec: str | None = None) -> None:
    """Samples (T,) by the path's ending, with soundfile where it can write that, or by a codec of FFmpeg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec is None:
        kind = {".opus": "OGG", ".aif": "AIFF"}.get(path.suffix.lower())
        subtype = "OPUS" if path.suffix.lower() == ".opus" else None
        soundfile.write(path, samples, rate, format=kind or path.suffix[1:].upper(), subtype=subtype)
    else:
        write_video(path, samples, rate, audio_codec=codec, video_codec=None)


def write_video(
    path: Path,
    samples: np.ndarray | None,
    rate: int = RATE,
    seconds: float | None = None,
    frames_per_second: int = 4,
    size: tuple[int, int] = (64, 48),
    video_codec: str | None = "mpeg4",
    audio_codec: str = "aac",
    late: int = 0,
) -> None:
    """Samples (T,), `late` seconds after frames of which the first of each second is grey and the others are white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = late + len(samples) / rate if samples is not None else seconds
    with av.open(str(path), "w") as container:
        if video_codec:
            video = container.add_stream(video_codec, rate=frames_per_second)
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
        if samples is not None:
            audio = container.add_stream(audio_codec, rate=rate, layout="mono")
        for number in range(int(seconds * frames_per_second) if video_codec else 0):
            second, later = divmod(number, frames_per_second)
            picture = np.full((size[1], size[0], 3), 255 if later else GREY * (second % 12), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if video_codec:
            container.mux(video.encode())
        if samples is not None:
            kind = audio.codec_context.format.name
            for begin in range(0, len(samples), 960):
                frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + 960], format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
                for part in av.AudioResampler(kind, "mono", rate).resample(frame):
                    part.pts = late * rate + begin
                    container.mux(audio.encode(part))
            container.mux(audio.encode())


def frequency_of(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency of (T,), by its spectrum."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return float(np.argmax(spectrum) * rate / (8 * len(samples)))
