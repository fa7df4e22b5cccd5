"""Thirty-two media files as people have them: good ones of every kind, and each way of being bad."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile


def tone(seconds: float, rate: int, channels: int = 1, frequency: float = 440.0) -> np.ndarray:
    """(T, channels) float32, peak 0.3."""
    time = np.arange(int(seconds * rate)) / rate
    waves = [0.3 * np.sin(2 * np.pi * (frequency + 50 * channel) * time) for channel in range(channels)]
    return np.stack(waves, 1).astype(np.float32)


def write_video(
    path: Path, video: str | None, audio: str | None, seconds: float = 3.0, rate: int = 48000, fps: int = 10
) -> None:
    """A video whose frame number n is grey 3n, with a tone."""
    with av.open(str(path), "w") as container:
        if video is not None:
            stream = container.add_stream(video, rate=fps)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        if audio is not None:
            sound = container.add_stream(audio, rate=rate, layout="mono")
        if video is not None:
            for number in range(int(seconds * fps)):
                grey = np.full((240, 320, 3), 3 * number % 256, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode(None))
        if audio is not None:
            samples = tone(seconds, rate)[:, 0]
            form = "flt" if audio == "libopus" else "fltp"
            for start in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024].copy(), form, "mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))


def write_good(folder: Path) -> list[str]:
    """Files that can be captioned from their audio; their names."""
    write = soundfile.write
    write(folder / "plain.wav", tone(3, 16000), 16000)
    write(folder / "8 bit.wav", tone(1, 16000), 16000, subtype="PCM_U8")
    write(folder / "24 bit.wav", tone(1, 48000, 2), 48000, subtype="PCM_24")
    write(folder / "32 bit.wav", tone(1, 44100), 44100, subtype="PCM_32")
    write(folder / "float.wav", tone(1, 16000), 16000, subtype="FLOAT")
    write(folder / "double.wav", tone(1, 16000), 16000, subtype="DOUBLE")
    write(folder / "6 channels.wav", tone(1, 44100, 6), 44100)
    write(folder / "96 kHz.flac", tone(1, 96000), 96000)
    write(folder / "8 kHz.wav", tone(1, 8000), 8000)
    write(folder / "tenth of a second.wav", tone(0.1, 16000), 16000)
    write(folder / "3 minutes.mp3", tone(180, 16000), 16000)
    write(folder / "stereo.mp3", tone(3, 44100, 2), 44100)
    write(folder / "UPPER.MP3", tone(1, 44100), 44100, format="MP3")
    write(folder / "vorbis.ogg", tone(1, 44100), 44100)
    write(folder / "opus.opus", tone(1, 48000), 48000, format="OGG", subtype="OPUS")
    write(folder / "apple.aiff", tone(1, 44100), 44100)
    write(folder / "dots.in.the.name.wav", tone(1, 16000), 16000)
    write(folder / 'quote\'s "and" комма, ünïcode 犬.wav', tone(1, 16000), 16000)
    write(folder / " leading space.flac", tone(1, 16000), 16000)
    write(folder / "12:30.wav", tone(1, 16000), 16000)
    (folder / "sub" / "folder").mkdir(parents=True)
    write(folder / "sub" / "folder" / "plain.wav", tone(1, 16000), 16000)
    write_video(folder / "apple.m4a", None, "aac")
    write_video(folder / "video.mp4", "libx264", "aac")
    write_video(folder / "video.webm", "libvpx", "libopus", seconds=2)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write_bad(folder: Path) -> dict[str, str]:
    """Files without usable audio, and the reason of each."""
    soundfile.write(folder / "silence.wav", np.zeros((16000, 1)), 16000)
    with_nan = tone(1, 16000)
    with_nan[100] = np.nan
    soundfile.write(folder / "nan.wav", with_nan, 16000, subtype="FLOAT")
    soundfile.write(folder / "header only.wav", tone(0, 16000), 16000)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("not a sound\n" * 100)
    write_video(folder / "mute.mp4", "libx264", None)
    write_video(folder / "whole.mp4", "libx264", "aac")
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "whole.mp4").rename(folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "truncated.flac", tone(3, 16000), 16000)
    whole = (folder / "truncated.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    return {
        "silence.wav": "silent",
        "nan.wav": "not finite",
        "header only.wav": "too short",
        "empty.wav": "broken",
        "text.wav": "broken",
        "mute.mp4": "no audio",
        "truncated.mp4": "broken",
        "truncated.flac": "broken",
    }
