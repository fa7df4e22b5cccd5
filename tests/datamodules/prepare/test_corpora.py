"""Corpora in their true layouts through the command: what is packed, what is not, and why."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.prepare.__main__ import main
from datamodules.shards import Sample
from tests.datamodules.prepare.commands import arguments, fails, packed, report
from tests.datamodules.prepare.made_corpus import CLASSES, MAKERS, Corpus, make_audiocaps, make_audioset, youtube_id
from tests.datamodules.prepare.made_media import GREY, RATE, frequency_of, tone, write_audio, write_video

SIZES = [
    pytest.param((40, 20, 8), id="40 files"),
    pytest.param((500, 20, 40), id="500 files", marks=pytest.mark.slow),
]


def audio_of(sample: Sample) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(sample.media["flac"]))


def grey_of(sample: Sample, second: int) -> float:
    return float(np.asarray(Image.open(io.BytesIO(sample.media[f"{second}.jpg"]))).mean())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", MAKERS)
def test_good_files_are_packed_and_the_others_reported(
    kind: str, sizes: tuple[int, int, int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    count, odd, bad = sizes
    corpus = MAKERS[kind](tmp_path / "corpus", count, odd, bad)
    output = tmp_path / "root" / kind / "all"
    main(arguments(kind, corpus, output, "--samples-per-shard", str(count // 5)))
    clips = packed(output)
    assert len(clips) == count - bad and list(clips) == list(corpus.good)
    for clip_id, sample in clips.items():
        samples, rate = audio_of(sample)
        assert samples.ndim == 1 and 1.1 < len(samples) / rate < 1.35, clip_id  # some codecs pad
        assert abs(frequency_of(samples[rate // 10 : rate], rate) - corpus.good[clip_id]) < 5, clip_id
        assert 0.4 < np.abs(samples[rate // 10 : rate]).max() < 0.6, clip_id
        assert sample.record["captions"] == corpus.captions.get(clip_id, []), clip_id
        assert ("0.jpg" in sample.media) == (clip_id in corpus.with_images), clip_id
        if clip_id in corpus.with_images:
            assert grey_of(sample, 0) < 12
    rows = report(output)
    left_out = {row["clip_id"]: row["reason"] for row in rows if not row["reason"].startswith("packed")}
    assert left_out == corpus.bad and len(rows) == count
    out = capsys.readouterr().out
    assert f"packed {count - bad} clips, {len(corpus.with_images)} with images" in out
    assert f"left out {bad}: " in out
    for reason, number in Counter(corpus.bad.values()).items():
        assert f"{number} {reason}" in out
    # 6 of the 8 ways leave a file of an audio or video ending
    assert f"found {count - list(corpus.bad.values()).count('unknown kind')} of the {count} clips" in out


def test_labels_are_names_and_waveforms_are_exact(tmp_path: Path) -> None:
    corpus = make_audioset(tmp_path / "corpus", 3, 0, 0)
    samples = np.rint(32767 * tone(1.0)).astype(np.int16)
    (corpus.media / f"Y{youtube_id(1)}.mp4").unlink()
    write_audio(corpus.media / f"{youtube_id(1)}_10_20.wav", samples)
    for form in ("flac", "wav"):
        main(arguments("audioset", corpus, tmp_path / form, "--format", form))
        clips = list(packed(tmp_path / form).values())
        names = list(CLASSES.values())
        assert [clip.record["labels"] for clip in clips] == [names[:1], names[:2], names]
        stored, rate = soundfile.read(io.BytesIO(clips[1].media[form]), dtype="int16")
        assert rate == RATE and np.array_equal(stored, samples)
        assert soundfile.info(io.BytesIO(clips[1].media[form])).subtype == "PCM_16"
    main(arguments("audioset", corpus, tmp_path / "rate", "--sampling-rate", "8000"))
    stored, rate = audio_of(list(packed(tmp_path / "rate").values())[1])
    assert rate == 8000 and len(stored) == 8000 and abs(frequency_of(stored, rate) - 440) < 1


def test_a_longer_file_is_cut_at_the_start_of_its_clip(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Second k of the long files is a tone of 400 + 50 k Hz, and its first frame has the grey of k."""
    corpus = make_audiocaps(tmp_path / "corpus", 4, 0, 0)  # clip i starts at 10 i
    for path in corpus.media.iterdir():
        path.unlink()
    seconds = np.concatenate([tone(1.0, 400 + 50 * second) for second in range(23)])
    write_video(corpus.media / f"{youtube_id(1)}.mp4", seconds)  # of 23 s: the clip is at 10 to 20
    write_video(corpus.media / f"{youtube_id(2)}_20.mkv", seconds[: 10 * RATE])  # cut, as its name says
    write_audio(corpus.media / f"Y{youtube_id(3)}.wav", seconds[: 10 * RATE])  # cut, as its length says
    write_audio(corpus.media / f"{youtube_id(0)}.flac", seconds)
    main(arguments("audiocaps", corpus, tmp_path / "out"))
    clips = packed(tmp_path / "out")
    assert len(clips) == 4
    for number, begins in enumerate((0, 10, 0, 0)):
        samples, rate = audio_of(clips[f"Y{youtube_id(number)}"])
        assert abs(len(samples) / rate - 10) < 0.1
        for second in range(10):
            middle = samples[int((second + 0.2) * rate) : int((second + 0.8) * rate)]
            assert abs(frequency_of(middle, rate) - (400 + 50 * (begins + second))) < 4, (number, second)
        for second in range(10) if number in (1, 2) else ():
            expected = GREY * ((begins + second) % 12)
            assert abs(grey_of(clips[f"Y{youtube_id(number)}"], second) - expected) < 10, (number, second)

    copy = make_audiocaps(tmp_path / "copy", 4, 0, 0, copy=True)
    capsys.readouterr()
    main(arguments("audiocaps", Corpus(corpus.media, copy.table), tmp_path / "no-starts"))
    assert {row["clip_id"]: row["reason"].split()[0] for row in report(tmp_path / "no-starts")} == {
        f"Y{youtube_id(number)}": "packed" if number > 1 else "no" for number in range(4)
    }
    assert "the table has no start_time" in capsys.readouterr().out


def test_one_of_several_files_is_taken_and_the_others_named(tmp_path: Path) -> None:
    corpus = make_audioset(tmp_path / "corpus", 1, 0, 0)  # starts at 0
    name = youtube_id(0)
    for ending in ("wav", "flac"):
        write_audio(corpus.media / f"{name}.{ending}", tone(1.0, 1000))
    write_video(corpus.media / f"{name}_0_10.mkv", tone(1.0, 2000))
    write_audio(corpus.media / f"{name}_50.wav", tone(1.0, 3000))  # another segment
    main(arguments("audioset", corpus, tmp_path / "out"))
    assert [(row["file"], row["reason"]) for row in report(tmp_path / "out")] == [
        (f"{name}_0_10.mkv", "packed"), (f"{name}.mp4", "same clip"), (f"{name}.flac", "same clip"),
        (f"{name}.wav", "same clip"),
    ]  # fmt: skip
    for path in corpus.media.glob("*"):
        if "_50" not in path.name:
            path.unlink()
    write_audio(corpus.media / "zzzzzzzzzzz.wav", tone(1.0))
    with pytest.raises(SystemExit):
        main(arguments("audioset", corpus, tmp_path / "none"))


def test_audiocaps_clips_are_left_out_of_audioset(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corpus = make_audioset(tmp_path / "corpus", 6, 0, 0)
    tests = make_audiocaps(tmp_path / "official", 2, 0, 0).table
    (tmp_path / "blacklist.json").write_text(f'{{"AudioSet": ["Y{youtube_id(2)}.wav"], "FreeSound": ["1"]}}')
    (tmp_path / "ids.txt").write_text(f"{youtube_id(3)}\nYabsent-----\n")
    (tmp_path / "ids.csv").write_text(f"file_name\nY{youtube_id(4)}.wav\nY{youtube_id(0)}.wav\n")
    lists = [str(tests), str(tmp_path / "blacklist.json"), str(tmp_path / "ids.txt")]
    main(arguments("audioset", corpus, tmp_path / "out", "--exclude", *lists))
    assert list(packed(tmp_path / "out")) == [f"Y{youtube_id(number)}" for number in (4, 5)]
    assert "found 2 of the 2 clips" in (out := capsys.readouterr().out) and "besides 4 left out by --exclude" in out
    assert [row["clip_id"] for row in report(tmp_path / "out") if row["reason"] == "excluded"] == [
        f"Y{youtube_id(number)}" for number in range(4)
    ]
    required = arguments("audioset", corpus, tmp_path / "no")
    required.remove("--no-exclude")
    assert "found no --exclude; give" in fails(capsys, *required)
    main(arguments("audioset", corpus, tmp_path / "some", "--ids", str(tmp_path / "ids.csv")))
    assert set(packed(tmp_path / "some")) == {f"Y{youtube_id(number)}" for number in (0, 4)}
    main(arguments("audioset", corpus, tmp_path / "few", "--ids", str(tmp_path / "ids.txt")))
    assert {row["clip_id"]: row["reason"] for row in report(tmp_path / "few")} == {
        f"Y{youtube_id(3)}": "packed", "Yabsent-----": "not in the table"
    }  # fmt: skip


def test_nothing_that_matches_is_an_error_that_shows_both_names(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corpus = make_audiocaps(tmp_path / "corpus", 3, 0, 0)
    for path in corpus.media.iterdir():
        path.rename(path.with_name(f"clip {path.name}"))
    line = fails(capsys, *arguments("audiocaps", corpus, tmp_path / "out"))
    assert youtube_id(0) in line and "clip Y" in line and not (tmp_path / "out").exists()
    line = fails(
        capsys,
        "folder",
        "--input",
        str(corpus.media),
        "--captions",
        str(corpus.table),
        "--output",
        str(tmp_path / "out"),
    )
    assert youtube_id(0) in line and "clip Y" in line


def test_rows_without_a_file_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corpus = make_audiocaps(tmp_path / "corpus", 6, 0, 0)
    (corpus.media / f"Y{youtube_id(1)}.wav").unlink()
    (corpus.media / f"Y{youtube_id(4)}.wav").rename(corpus.media / f"Y{youtube_id(4)}_77.wav")
    main(arguments("audiocaps", corpus, tmp_path / "out"))
    assert "found 4 of the 6 clips in test.csv; 1 other files" in capsys.readouterr().out
    missing = {row["clip_id"]: row["detail"] for row in report(tmp_path / "out") if row["reason"] == "missing"}
    assert missing == {f"Y{youtube_id(1)}": "", f"Y{youtube_id(4)}": f"Y{youtube_id(4)}_77.wav has other times"}


def test_clips_without_images_are_packed_or_left_out(tmp_path: Path) -> None:
    corpus = make_audioset(tmp_path / "corpus", 3, 1, 0)
    for options, packs in (((), 3), (("--require-images",), 2)):
        output = tmp_path / f"out{len(options)}"
        main(arguments("audioset", corpus, output, *options))
        assert len(packed(output)) == packs
        reason = "no images" if options else "packed without images"
        assert [row["reason"] for row in report(output)] == [reason, "packed", "packed"]


def test_lists_name_clips_as_files_are_called(tmp_path: Path) -> None:
    """With the start, or start and end, and an ending, as a listing of AudioCaps' files has them."""
    corpus = make_audioset(tmp_path / "corpus", 4, 0, 0)
    listed = tmp_path / "ids.txt"
    listed.write_text(f"Y{youtube_id(0)}_0.000.wav\n{youtube_id(1)}_30_40\nabsent-----_10\n")
    main(arguments("audioset", corpus, tmp_path / "some", "--ids", str(listed)))
    assert set(packed(tmp_path / "some")) == {f"Y{youtube_id(number)}" for number in (0, 1)}
    assert [row["clip_id"] for row in report(tmp_path / "some") if row["reason"] == "not in the table"] == [
        "absent-----_10"
    ]
    main(arguments("audioset", corpus, tmp_path / "others", "--exclude", str(listed)))
    assert set(packed(tmp_path / "others")) == {f"Y{youtube_id(number)}" for number in (2, 3)}
