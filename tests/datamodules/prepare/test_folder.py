"""A folder of the user's own files through the command, and through the loader that reads what it packed."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.caption_table import read_captions
from datamodules.clip_loader import EvalLoader
from datamodules.clips import ClipFormat
from datamodules.prepare.__main__ import main
from datamodules.shards import read_index
from earshot.errors import InputError
from tests.datamodules.prepare.commands import packed, report
from tests.datamodules.prepare.made_media import GREY, tone, write_audio, write_video

RATE = 44100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    (path / "deeper").mkdir(parents=True)
    soundfile.write(path / "bell.1.wav", np.stack([tone(1.0, rate=RATE)] * 2, 1), RATE)
    Image.new("RGB", (90, 31), (200, 100, 50)).save(path / "bell.1.JPG")
    soundfile.write(path / "deeper" / "drum.flac", tone(0.5, rate=RATE), RATE)
    Image.new("RGBA", (31, 90), (0, 0, 255, 255)).save(path / "deeper" / "drum.png")
    soundfile.write(path / "rain.mp3", tone(1.0, rate=RATE), RATE, format="MP3")
    write_video(path / "siren.mp4", tone(12, rate=RATE), RATE)
    return path


def prepare(folder: Path, output: Path, *options: str) -> None:
    main(["folder", "--input", str(folder), "--output", str(output), *options])


def test_a_rate_that_flac_cannot_hold_is_said(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    soundfile.write(tmp_path / "own" / "fast.wav", tone(1.0, rate=70001), 70001)
    soundfile.write(tmp_path / "own" / "slow.wav", tone(1.0, rate=RATE), RATE)
    prepare(tmp_path / "own", tmp_path / "flac")
    row = report(tmp_path / "flac")[0]
    assert row["reason"] == "not FLAC"
    assert row["detail"] == "FLAC cannot hold 70,001 Hz; give --sampling-rate or --format wav"
    prepare(tmp_path / "own", tmp_path / "wav", "--format", "wav")
    assert packed(tmp_path / "wav").keys() == {"fast", "slow"}


def test_sounds_pictures_and_videos_become_clips(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "root" / "own" / "all"
    prepare(folder, output, "--samples-per-shard", "3")
    assert "packed 4 clips, 3 with images and 0 with captions" in capsys.readouterr().out
    clips = packed(output)
    assert {clip_id: list(sample.media) for clip_id, sample in clips.items()} == {
        "bell.1": ["flac", "0.jpg"],
        "deeper/drum": ["flac", "0.jpg"],
        "rain": ["flac"],
        "siren": ["flac", *(f"{second}.jpg" for second in range(10))],
    }
    stored, rate = soundfile.read(io.BytesIO(clips["bell.1"].media["flac"]), dtype="int16")
    assert rate == RATE and np.array_equal(stored, soundfile.read(folder / "bell.1.wav", dtype="int16")[0][:, 0])

    shards = read_index(output)
    batches = list(EvalLoader(shards, ClipFormat(sampling_rate=16000, max_seconds=10.0), 2))
    sounds = {
        clip_id: batch.waveforms[row, : batch.num_samples[row]].numpy() / 32768
        for batch in batches
        for row, clip_id in enumerate(batch.clip_ids)
    }
    for clip_id, seconds in (("bell.1", 1), ("deeper/drum", 0.5), ("rain", 1), ("siren", 10)):
        assert abs(len(sounds[clip_id]) / 16000 - seconds) < 0.06, clip_id  # codecs pad
        spectrum = np.abs(np.fft.rfft(sounds[clip_id][:8000]))
        assert np.argmax(spectrum) * 2 == 440, clip_id
        assert 0.45 < np.abs(sounds[clip_id][2000:6000]).max() < 0.55, clip_id


def test_the_first_frame_of_each_second_is_taken(folder: Path, tmp_path: Path) -> None:
    prepare(folder, tmp_path / "out", "--image-size", "16")
    media = packed(tmp_path / "out")["siren"].media
    for second in range(10):
        (tmp_path / "frame.jpg").write_bytes(media[f"{second}.jpg"])
        with Image.open(tmp_path / "frame.jpg") as image:
            assert image.size == (16, 16)
            assert abs(np.asarray(image).mean() - GREY * second) < 8, second


def test_images_are_cropped_unless_sizes_are_kept(folder: Path, tmp_path: Path) -> None:
    for options, size in ((["--image-size", "16"], (16, 16)), ([], (336, 336)), (["--image-size", "0"], (90, 31))):
        output = tmp_path / "-".join(["out", *options])
        prepare(folder, output, *options)
        (tmp_path / "x.jpg").write_bytes(packed(output)["bell.1"].media["0.jpg"])
        with Image.open(tmp_path / "x.jpg") as image:
            assert image.size == size


def test_a_photographed_picture_stands_upright(folder: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    image.save(folder / "rain.jpg", exif=exif)
    prepare(folder, tmp_path / "out", "--image-size", "0")
    (tmp_path / "x.jpg").write_bytes(packed(tmp_path / "out")["rain"].media["0.jpg"])
    with Image.open(tmp_path / "x.jpg") as upright:
        assert upright.size == (20, 40)


def test_a_picture_belongs_to_its_sound_in_either_form_of_unicode(folder: Path, tmp_path: Path) -> None:
    """As macOS writes the one and another system the other; of two pictures the second is named."""
    write_audio(folder / "caf\u00e9.wav", tone(1.0))
    for ending in ("jpg", "png"):
        Image.new("RGB", (9, 9)).save(folder / f"cafe\u0301.{ending}")
    prepare(folder, tmp_path / "out")
    assert list(packed(tmp_path / "out")["caf\u00e9"].media) == ["flac", "0.jpg"]
    assert [(row["clip_id"], row["reason"]) for row in report(tmp_path / "out") if row["file"].endswith("png")] == [
        ("caf\u00e9", "same clip")
    ]


def test_odd_files_are_named_and_the_rest_is_packed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "noise.wav").write_text("not a sound")
    (folder / "broken.mp4").write_bytes(b"not a video")
    (folder / "cut.jpg").write_bytes((folder / "bell.1.JPG").read_bytes()[:300])
    soundfile.write(folder / "cut.wav", tone(1.0, rate=RATE), RATE)
    soundfile.write(folder / "nothing.wav", np.zeros(0), RATE)
    soundfile.write(folder / "integers.wav", 20000 * tone(1.0), RATE, subtype="FLOAT")
    soundfile.write(folder / "siren.wav", tone(1.0, rate=RATE), RATE)
    soundfile.write(folder / "rain.wav", tone(1.0, rate=RATE), RATE)
    Image.new("RGB", (9, 9)).save(folder / "lonely.jpg")
    write_video(folder / "mute.mp4", None, seconds=1)
    (folder / "notes.txt").write_text("not looked into")
    write_video(folder / "short.mp4", tone(3))
    prepare(folder, tmp_path / "out")
    out = capsys.readouterr().out
    clips = packed(tmp_path / "out")
    assert set(clips) == {"bell.1", "deeper/drum", "rain", "siren", "cut", "short"}
    assert list(clips["cut"].media) == ["flac"]
    assert list(clips["short"].media) == ["flac", "0.jpg", "1.jpg", "2.jpg"]
    assert "left out 9: " in out and "packed 6 clips, 4 with images" in out
    with (tmp_path / "out" / "report.csv").open(newline="") as file:
        rows = {row["file"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}
    for name, (reason, detail) in {
        "noise.wav": ("broken", "Invalid data"),
        "broken.mp4": ("broken", "Invalid data"),
        "cut.wav": ("packed without images", "cut.jpg: "),
        "nothing.wav": ("too short", "no samples"),
        "integers.wav": ("out of range", "samples up to 10000"),
        "siren.wav": ("same clip", "same name as siren.mp4"),
        "rain.wav": ("same clip", "same name as rain.mp3"),
        "lonely.jpg": ("image alone", "without audio"),
        "mute.mp4": ("no audio", "no audio stream"),
        "notes.txt": ("unknown kind", "neither audio nor video"),
    }.items():
        assert rows[name][0] == reason and detail in rows[name][1], name


def test_captions_of_the_table_go_with_their_clips(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        'file_name,caption_1,caption_2\nbell.1.wav,a bell rings,"a bell, twice"\ndrum.wav,a drum is beaten,\n'
        "elsewhere.wav,nothing,nothing\n"
    )
    prepare(folder, tmp_path / "out", "--captions", str(table))
    captions = {clip_id: sample.record["captions"] for clip_id, sample in packed(tmp_path / "out").items()}
    assert captions == {
        "bell.1": ["a bell rings", "a bell, twice"],
        "deeper/drum": ["a drum is beaten"],
        "rain": [],
        "siren": [],
    }


def test_every_part_of_an_excluded_video_is_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("YabcdefghiJK_30.000.wav", "YabcdefghiJK_60.000.wav", "deeper/abcdefghiJK_90.wav"):
        soundfile.write(folder / name, tone(1.0, rate=RATE), RATE)
    test, other = tmp_path / "test.csv", tmp_path / "other.txt"
    test.write_text("audiocap_id,youtube_id,start_time,caption\n1,abcdefghiJK,30,a dog\n")
    other.write_text("zzzzzzzzzzz\nbell.2\n")
    prepare(folder, tmp_path / "out", "--exclude", str(test), str(other))
    assert set(packed(tmp_path / "out")) == {"bell.1", "deeper/drum", "rain", "siren"}
    out = capsys.readouterr().out
    assert "left out 3: 3 excluded" in out and f"{test}: " not in out
    assert f"{other}: --exclude leaves out no clip by its 2 ids, such as 'zzzzzzzzzzz'" in out


def test_a_table_of_semicolons_in_latin_1_from_the_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("File name;Description\nbell.1.wav;une cloche, pr\u00e8s\n", encoding="iso-8859-1")
    prepare(folder, tmp_path / "out", "--captions", str(table))
    assert packed(tmp_path / "out")["bell.1"].record["captions"] == ["une cloche, pr\u00e8s"]
    assert "read as Windows-1252 (Latin-1), as in 'pr\u00e8s'" in capsys.readouterr().out


def test_tables_by_id_or_file_name_with_one_caption_a_row(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("id,other,caption\na.b,x,one\na.b,y,two\nc,z,\n", encoding="utf-8-sig")
    assert read_captions(table) == {"a.b": ["one", "two"], "c": []}
    table.write_text("file_name,caption\na.b.wav,one\nc,two\n")
    assert read_captions(table) == {"a.b": ["one"], "c": ["two"]}
    table.write_text("name,caption\na,one\n")
    with pytest.raises(InputError, match="found name, caption; rename"):
        read_captions(table)


@pytest.mark.parametrize("wrong", ["no input", "empty input", "full output", "no table", "nothing readable"])
def test_wrong_paths_end_with_one_line_and_code_2(
    wrong: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output, options = tmp_path / "out", []
    if wrong == "no input":
        folder = tmp_path / "nowhere"
    elif wrong == "empty input":
        folder = tmp_path / "empty"
        folder.mkdir()
    elif wrong == "full output":
        output = folder
    elif wrong == "no table":
        options = ["--captions", str(tmp_path / "table.csv")]
    else:
        folder = tmp_path / "garbage"
        folder.mkdir()
        (folder / "noise.wav").write_text("not a sound")
    with pytest.raises(SystemExit) as stopped:
        prepare(folder, output, *options)
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line and not line.startswith("packing")]
    assert stopped.value.code == 2
    assert len(errors) == 1 and errors[0].startswith("error: expected")
    assert ("noise.wav: broken" in errors[0]) == (wrong == "nothing readable")


def test_captions_find_their_files_or_are_named(tmp_path: Path) -> None:
    """By every ending, in either form of Unicode; not where two files may be meant."""
    for name in ("a/1.wav", "b/1.wav", "cafe\u0301.wav", "s.caf", "v.aiff"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, tone(1.0))
    write_video(tmp_path / "in" / "clip.m4v", tone(1.0))
    (tmp_path / "in" / "circle").symlink_to(".")
    table = tmp_path / "table.csv"
    table.write_text("file_name,caption\n1.wav,one\nb/1.wav,two\ncaf\u00e9.wav,three\ns.caf,four\nclip.m4v,five\n")
    main(["folder", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--captions", str(table)])
    assert {clip_id: sample.record["captions"] for clip_id, sample in packed(tmp_path / "out").items()} == {
        "a/1": [], "b/1": ["two"], "cafe\u0301": ["three"], "s": ["four"], "clip": ["five"], "v": []
    }  # fmt: skip
    assert [(row["clip_id"], row["reason"]) for row in report(tmp_path / "out") if "packed" not in row["reason"]] == [
        ("1", "missing")
    ]


@pytest.mark.parametrize("option", [("--image-size", "-5"), ("--max-seconds", "-1"), ("--min-seconds", "nan")])
def test_sizes_that_cannot_be(folder: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """They do not blame the files."""
    with pytest.raises(SystemExit) as ended:
        main(["folder", "--input", str(folder), "--output", str(folder.parent / "out"), *option])
    assert ended.value.code == 2 and "expected an --image-size and --min-seconds of" in capsys.readouterr().err
