"""Audio and frames against soundfile, PyAV by itself, and the tones and greys that were written."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.media import MediaError, audio_windows, duration, opened, read_audio, read_frames
from tests.datamodules.prepare.made_media import GREY, frequency_of, tone, write_audio, write_video

EXACT = [("wav", "PCM_U8"), ("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "PCM_32"), ("wav", "FLOAT"),
         ("wav", "DOUBLE"), ("flac", "PCM_16"), ("flac", "PCM_24"), ("aiff", "PCM_16"), ("aiff", "PCM_24")]  # fmt: skip


def reason_of(path: Path, **arguments: float) -> str:
    with pytest.raises(MediaError) as refused:
        read_audio(path, **arguments).require_usable()
    return refused.value.reason


@pytest.mark.parametrize(("ending", "subtype"), EXACT)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (96000, 6)])
def test_files_without_loss_are_read_as_soundfile_reads_them(
    ending: str, subtype: str, rate: int, channels: int, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (rate, channels))
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise, rate, subtype=subtype)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    for mono, wanted in (("mean", expected.mean(1)), ("first", expected[:, 0])):
        audio = read_audio(path, mono=mono)
        assert audio.sampling_rate == rate and audio.waveform.dtype == np.float32 and audio.start == 0
        np.testing.assert_allclose(audio.waveform, wanted, atol=1e-6)
        part = read_audio(path, 0.4, 0.25, mono)
        np.testing.assert_allclose(part.waveform, wanted[round(0.4 * rate) :][: round(0.25 * rate)], atol=1e-6)
        assert part.seconds == 0.25 and part.start == pytest.approx(0.4)


@pytest.mark.parametrize("ending", ["mp3", "ogg", "opus"])
def test_lossy_files_agree_with_soundfile(ending: str, tmp_path: Path) -> None:
    path, rate = tmp_path / f"a.{ending}", 48000
    write_audio(path, tone(5.0, 440, rate) + tone(5.0, 3000, rate) / 4, rate)
    expected, _ = soundfile.read(path, dtype="float32")
    audio = read_audio(path)
    assert abs(len(audio.waveform) - len(expected)) <= 0.06 * rate  # codecs pad at the end
    shared = min(len(audio.waveform), len(expected)) - 3000
    assert np.abs(audio.waveform - expected[: len(audio.waveform)])[:shared].max() < 2e-3
    part = read_audio(path, 2.5, 1.0)
    assert np.abs(part.waveform - audio.waveform[round(2.5 * rate) :][: len(part.waveform)]).max() < 2e-3


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("m4a", "aac"), ("mp4", "aac"), ("mkv", "flac"), ("webm", "libopus"), ("aac", "aac"), ("wav", "pcm_s16le")],
)
def test_a_later_part_is_that_of_the_whole(ending: str, codec: str, tmp_path: Path) -> None:
    """Second k is a tone of 400 + 100 k Hz, so that a wrong place is heard at once."""
    path, rate = tmp_path / f"a.{ending}", 48000
    write_audio(path, np.concatenate([tone(1.0, 400 + 100 * k, rate) for k in range(12)]), rate, codec)
    whole = read_audio(path)
    assert abs(whole.seconds - 12) < 0.1 and abs(duration(path) - 12) < 0.2
    for start in (0.0, 3.0, 10.25):
        part = read_audio(path, start, 0.5)
        assert len(part.waveform) == rate // 2
        shifts = range(-rate // 1000, rate // 1000 + 1) if ending == "webm" else (0,)  # its times are whole ms
        wanted = [whole.waveform[max(0, round(start * rate) + shift) :][: rate // 2] for shift in shifts]
        assert min(np.abs(part.waveform - waveform).max() for waveform in wanted) < 2e-3
        assert abs(frequency_of(part.waveform[2400:], rate) - (400 + 100 * int(start))) < 6
    windows = list(audio_windows(path, seconds=2.5))
    assert [round(window.start, 3) for window in windows] == [0, 2.5, 5, 7.5, 10]
    np.testing.assert_array_equal(np.concatenate([window.waveform for window in windows]), whole.waveform)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "aiff", "m4a", "mp4", "mkv", "webm"])
def test_a_file_that_was_cut_off_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    if ending in ("mp4", "mkv", "webm"):
        codecs = {"webm": ("libvpx", "libopus")}.get(ending, ("mpeg4", "aac"))
        write_video(path, tone(12.0, rate=48000), 48000, video_codec=codecs[0], audio_codec=codecs[1])
    else:
        write_audio(path, tone(12.0, rate=48000), 48000, "aac" if ending == "m4a" else None)
    assert abs(read_audio(path).seconds - 12) < 0.1
    whole = path.read_bytes()
    for share in (0.8, 0.4):
        path.write_bytes(whole[: int(share * len(whole))])
        assert reason_of(path) == "broken"


@pytest.mark.parametrize("ending", ["mp3", "aac"])
def test_a_bit_rate_that_rises_does_not_make_a_file_long(ending: str, tmp_path: Path) -> None:
    """FFmpeg guesses these lengths by the first bit rate, here that of silence; the header is of the first part."""
    path = tmp_path / f"a.{ending}"
    noise = np.random.default_rng(0).uniform(-1, 1, 8 * 48000).astype(np.float32)
    parts = []
    for samples in (np.zeros(2 * 48000, np.float32), noise):
        write_audio(path, samples, 48000, "aac" if ending == "aac" else None)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    with av.open(str(path)) as container:
        assert container.duration / av.time_base > 20
    assert abs(read_audio(path).seconds - 10) < 0.2 and abs(duration(path) - 10) < 0.2


def test_an_mp3_that_counts_its_picture_among_its_bytes_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    write_audio(path, tone(10.0, rate=48000), 48000)
    content, picture = path.read_bytes(), 2**17
    count = re.search(rb"(?:Xing|Info)\0{3}.{5}(.{4})", content, re.DOTALL)
    assert count
    more = (int.from_bytes(count[1], "big") + picture).to_bytes(4, "big")
    tag = b"ID3\x03\0\0" + bytes(picture >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(picture)
    path.write_bytes(tag + content[: count.start(1)] + more + content[count.end(1) :])
    assert abs(read_audio(path).seconds - 10) < 0.2
    path.write_bytes(path.read_bytes()[: len(tag) + len(content) // 2])
    with pytest.raises(MediaError, match="its header says 10"):
        read_audio(path)


@pytest.mark.parametrize("ending", ["mkv", "webm", "mp4"])
def test_sound_that_begins_after_the_picture_is_whole(ending: str, tmp_path: Path) -> None:
    codecs = ("libvpx", "libopus") if ending == "webm" else ("mpeg4", "aac")
    path = tmp_path / f"a.{ending}"
    write_video(path, tone(7.0, rate=48000), 48000, video_codec=codecs[0], audio_codec=codecs[1], late=3)
    assert abs(read_audio(path).seconds - 7) < 0.1 and abs(duration(path) - 10) < 0.1


def test_parts_of_other_channels_are_read_and_of_other_rates_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    parts = {}
    for rate, channels in ((44100, 1), (44100, 2), (22050, 1)):
        soundfile.write(path, np.stack([tone(2.0, rate=rate)] * channels, 1), rate)
        parts[rate, channels] = path.read_bytes()
    path.write_bytes(parts[44100, 1] + parts[44100, 2])
    audio = read_audio(path)
    assert abs(audio.seconds - 4) < 0.2
    for second in (0.5, 3.0):
        assert abs(frequency_of(audio.waveform[int(second * 44100) :][:22050], 44100) - 440) < 2
    path.write_bytes(parts[44100, 1] + parts[22050, 1])
    with pytest.raises(MediaError, match="changes from 44100 to 22050 Hz"):
        read_audio(path)


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def test_codecs_that_nothing_decodes_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", tone(1.0))
    replace_bytes(tmp_path / "a.wav", b"fmt \x10\0\0\0\x01\0", b"fmt \x10\0\0\0\x34\x12")
    assert reason_of(tmp_path / "a.wav") == "broken"
    write_video(tmp_path / "a.avi", tone(1.0, rate=48000), 48000, audio_codec="mp3")
    replace_bytes(tmp_path / "a.avi", b"FMP4", b"ZZZZ")
    with pytest.raises(MediaError, match="no decoder for its video"):
        read_frames(tmp_path / "a.avi")


def test_a_damaged_time_in_matroskas_tags_promises_nothing(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.mka", tone(1.0), codec="flac")
    replace_bytes(tmp_path / "a.mka", b"00:00:01.", b"00:00:x1.")
    assert abs(read_audio(tmp_path / "a.mka").seconds - 1) < 0.1


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not a sound\n" * 100)
    (tmp_path / "playlist.wav").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.mp3\n")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16000)
    write_audio(tmp_path / "silence.wav", np.zeros(16000))
    with_nan = tone(1.0)
    with_nan[5] = np.nan
    soundfile.write(tmp_path / "nan.wav", with_nan, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "inf.wav", np.where(np.isnan(with_nan), np.inf, with_nan), 16000, subtype="FLOAT")
    write_video(tmp_path / "mute.mp4", None, seconds=1)
    write_audio(tmp_path / "short.wav", tone(1.0))
    found = {path.stem: reason_of(path) for path in tmp_path.iterdir() if path.stem != "short"}
    assert found == {
        "empty": "broken", "text": "broken", "playlist": "broken", "nothing": "too short", "silence": "silent",
        "nan": "not finite", "inf": "not finite", "mute": "no audio",
    }  # fmt: skip
    assert reason_of(tmp_path / "short.wav", start=2.0) == "too short"
    with pytest.raises(MediaError) as refused:
        read_frames(tmp_path / "short.wav")
    assert refused.value.reason == "no images"


def first_frames(path: Path, start: float, count: int) -> dict[int, tuple[float, np.ndarray]]:
    """By PyAV alone, from the beginning: time and pixels of the first frame in each second."""
    found: dict[int, tuple[float, np.ndarray]] = {}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            second = int(np.floor(frame.time - start + 1e-6))
            if 0 <= second < count and second not in found:
                found[second] = frame.time, frame.to_ndarray(format="rgb24")
    return found


@pytest.mark.parametrize(
    ("ending", "codec", "frames_per_second"),
    [("mp4", "libx264", 25), ("mp4", "libx264", 30), ("mkv", "libx264", 4), ("webm", "libvpx", 10),
     ("webm", "libvpx-vp9", 15), ("mp4", "mpeg4", 12), ("mp4", "libx264", 1)],
)  # fmt: skip
@pytest.mark.parametrize("start", [0.0, 3.0, 6.4])
def test_frames_are_the_first_of_each_second(
    ending: str, codec: str, frames_per_second: int, start: float, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    audio = {"webm": "libopus"}.get(ending, "aac")
    samples = tone(12.0, rate=48000)
    write_video(path, samples, 48000, None, frames_per_second, video_codec=codec, audio_codec=audio)
    expected = first_frames(path, start, 10)
    assert set(expected) >= set(range(min(10, int(12 - start))))
    with opened(path) as file:
        read_audio(file, start, 2.0)
        after_audio = read_frames(file, start, size=None, threads=1)
    for frames in (after_audio, *(read_frames(path, start, size=None, threads=threads) for threads in (0, 1))):
        assert set(frames) == set(expected)
        for second, image in frames.items():
            np.testing.assert_array_equal(np.asarray(image), expected[second][1])
            if start == int(start):
                assert abs(np.asarray(image).mean() - GREY * ((second + start) % 12)) < 12


def test_frames_are_scaled_and_cropped_at_the_centre(tmp_path: Path) -> None:
    write_video(tmp_path / "wide.mp4", tone(1.0), size=(160, 64))
    write_video(tmp_path / "tall.mp4", tone(1.0), size=(48, 128))
    for name in ("wide", "tall"):
        assert read_frames(tmp_path / f"{name}.mp4", size=32)[0].size == (32, 32)
    halves(tmp_path / "halves.mp4")
    middle = np.asarray(read_frames(tmp_path / "halves.mp4", size=32)[0]).mean((0, 2))
    assert middle[:14].max() < 60 and middle[-14:].min() > 200


def halves(path: Path) -> None:
    """A wide video, black at the left and white at the right."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=4)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        picture = np.zeros((48, 96, 3), np.uint8)
        picture[:, 48:] = 255
        for _ in range(4):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())


def test_a_video_of_a_phone_held_upright_stands(tmp_path: Path) -> None:
    """A quarter turn clockwise in the header, as phones write it: what was left is then at the top."""
    path = tmp_path / "phone.mp4"
    halves(path)
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    zero, w = bytes(4), (1 << 30).to_bytes(4, "big")
    straight = one + zero * 3 + one + zero * 3 + w
    content = path.read_bytes()
    at = content.index(b"tkhd")
    assert straight in content[at:]
    at = content.index(straight, at)
    turned = zero + one + zero + minus + zero * 4 + w
    path.write_bytes(content[:at] + turned + content[at + len(turned) :])
    for size in (None, 32):
        image = np.asarray(read_frames(path, size=size)[0])
        assert image.shape == ((96, 48, 3) if size is None else (32, 32, 3))
        assert image[: len(image) // 3].max() < 60 and image[-len(image) // 3 :].min() > 200


def test_frames_of_pictures_written_by_hand(tmp_path: Path) -> None:
    """Where seconds have no frame, they have none here, too."""
    path = tmp_path / "gaps.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in (0, 3, 11, 29, 52):  # tenths of a second
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (number * 4,) * 3))
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
    frames = read_frames(path)
    assert set(frames) == {0, 1, 2, 5}
    for second, number in ((0, 0), (1, 11), (2, 29), (5, 52)):
        assert abs(np.asarray(frames[second]).mean() - 4 * number) < 8
