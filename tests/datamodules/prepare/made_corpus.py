"""Corpora as they lie on disk: tables and names like the real ones, good files, odd ones, and files to leave out."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from tests.datamodules.prepare.made_media import RATE, tone, write_audio, write_video

SECONDS = 1.2  # of a file
CLASSES = {"/m/09x0r": "Speech", "/m/05zppz": "Male speech, man speaking", "/m/0bt9lr": "Dog"}


@dataclass
class Corpus:
    """A made corpus, and what packing it should give.

    Attributes:
        media: folder.
        table: the corpus's own.
        good: the frequency of each clip that can be packed, by id, in the order of the table.
        bad: the reason why each other clip cannot.
        captions: by id.
        with_images: ids of videos with pictures.
    """

    media: Path
    table: Path
    good: dict[str, float] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=dict)
    with_images: set[str] = field(default_factory=set)


def youtube_id(number: int) -> str:
    """Eleven characters, as awkward as the real ones."""
    return f"{'-_aZ'[number % 4]}x{number:03d}_-{number % 10}_30"


def frequency(number: int) -> float:
    """Of clip `number`, in Hz: no two of the first 500 are the same."""
    return 300.0 + 10 * number


def odd_files() -> list[Callable[[Path, np.ndarray], None]]:
    """Writers of files that are odd but good: they get a path without ending, and samples (T,) at RATE."""

    def by_soundfile(ending: str, rate: int = RATE, channels: int = 1, subtype: str | None = None) -> Callable:
        def write(stem: Path, samples: np.ndarray) -> None:
            many = np.repeat(np.repeat(samples, rate // RATE)[:, None], channels, axis=1)
            kind = "AIFF" if ending == ".aif" else None
            soundfile.write(f"{stem}{ending}", many, rate, subtype=subtype, format=kind)

        return write

    def by_ffmpeg(ending: str, codec: str) -> Callable:
        return lambda stem, samples: write_audio(Path(f"{stem}{ending}"), samples, RATE, codec)

    return [
        by_soundfile(".wav", subtype="PCM_U8"), by_soundfile(".wav", subtype="PCM_24"),
        by_soundfile(".wav", subtype="FLOAT"), by_soundfile(".wav", subtype="DOUBLE"),
        by_soundfile(".wav", channels=6), by_soundfile(".WAV", channels=2), by_soundfile(".flac", rate=96000),
        by_soundfile(".FLAC"), by_soundfile(".flac", subtype="PCM_24"), by_soundfile(".mp3"), by_soundfile(".MP3"),
        by_soundfile(".ogg"), by_soundfile(".aiff"), by_soundfile(".aif"), by_ffmpeg(".m4a", "aac"),
        by_ffmpeg(".mp4", "aac"), by_ffmpeg(".mkv", "flac"), by_ffmpeg(".webm", "libopus"), by_ffmpeg(".oga", "flac"),
        by_ffmpeg(".aac", "aac"),
    ]  # fmt: skip


def write_bad(kind: int, stem: Path, samples: np.ndarray) -> str:
    """Write a file that cannot be packed, in one of eight ways, and return the reason that the report should give."""
    wav = Path(f"{stem}.wav")
    if kind == 0:
        wav.touch()
        return "broken"
    if kind == 1:
        wav.write_text("this is not a sound\n" * 40)
        return "broken"
    if kind == 2:
        write_audio(Path(f"{stem}.flac"), np.tile(samples, 3))
        Path(f"{stem}.flac").write_bytes(Path(f"{stem}.flac").read_bytes()[:-2000])
        return "broken"
    if kind == 3:
        samples = samples.copy()
        samples[100] = np.nan
        soundfile.write(wav, samples, RATE, subtype="FLOAT")
        return "not finite"
    if kind == 4:
        write_audio(wav, np.zeros_like(samples))
        return "silent"
    if kind == 5:
        write_audio(wav, samples[: RATE // 20])
        return "too short"
    if kind == 6:
        write_video(Path(f"{stem}.mp4"), None, seconds=2)
        return "no audio"
    Path(f"{stem}.mp4.part").write_bytes(b"half of a download")
    return "unknown kind"


def write_files(corpus: Corpus, stems: list[tuple[str, Path]], odd: int, bad: int, video: bool) -> None:
    """Write the file of each (clip id, path without ending): first the odd ones, then those to leave out."""
    writers = odd_files()
    for number, (clip_id, stem) in enumerate(stems):
        stem.parent.mkdir(parents=True, exist_ok=True)
        samples = tone(SECONDS, frequency(number))
        if odd <= number < odd + bad:
            corpus.bad[clip_id] = write_bad(number % 8, stem, samples)
            continue
        corpus.good[clip_id] = frequency(number)
        if number < odd:
            writers[number % len(writers)](stem, samples)
        elif video:
            write_video(Path(f"{stem}.mp4"), samples)
            corpus.with_images.add(clip_id)
        else:
            write_audio(Path(f"{stem}.wav"), samples)


def make_audioset(root: Path, count: int, odd: int, bad: int) -> Corpus:
    """AudioSet's balanced list, with videos called in every form that is read."""
    corpus = Corpus(root / "videos", root / "balanced_train_segments.csv")
    lines = ["# Segments csv created Sun Mar  5 10:54:31 2017", "# num_ytids=20371, num_segs=20371",
             "# YTID, start_seconds, end_seconds, positive_labels"]  # fmt: skip
    stems = []
    for number in range(count):
        name, start = youtube_id(number), 10 * (number % 7)
        forms = (
            name, f"Y{name}", f"{name}_{start}.000", f"{name}_{start:06d}", f"{name}_{start}_{start + 10}",
            f"deeper/{name}_{1000 * start}", f"deeper/still/Y{name}_{1000 * start}_{1000 * (start + 10)}",
        )  # fmt: skip
        lines.append(f'{name}, {start}.000, {start + 10}.000, "{",".join(list(CLASSES)[: 1 + number % 3])}"')
        stems.append((f"Y{name}", corpus.media / (name if odd <= number < odd + bad else forms[number % len(forms)])))
    corpus.table.parent.mkdir(parents=True, exist_ok=True)
    corpus.table.write_text("\n".join(lines) + "\n")
    with (root / "class_labels_indices.csv").open("w", newline="") as file:
        file.write("index,mid,display_name\n")
        file.writelines(f'{index},{mid},"{name}"\n' for index, (mid, name) in enumerate(CLASSES.items()))
    write_files(corpus, stems, odd, bad, video=True)
    return corpus


def make_audiocaps(root: Path, count: int, odd: int, bad: int, copy: bool = False) -> Corpus:
    """AudioCaps' own test table, of five rows a clip, or WavCaps' copy of it, of one row."""
    corpus = Corpus(root / "clips", root / "test.csv")
    stems, rows = [], []
    for number in range(count):
        name = youtube_id(number)
        texts = [f'clip {number}, said "{voice}"' for voice in range(5)]
        corpus.captions[f"Y{name}"] = texts
        rows.append((name, 10 * (number % 4), texts))
        stems.append((f"Y{name}", corpus.media / f"Y{name}"))
    corpus.table.parent.mkdir(parents=True, exist_ok=True)
    with corpus.table.open("w", newline="") as file:
        writer = csv.writer(file)
        if copy:
            writer.writerow(["file_name", *(f"caption_{voice}" for voice in range(1, 6))])
            writer.writerows([f"Y{name}.wav", *texts] for name, _, texts in rows)
        else:
            writer.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
            for voice in range(5):  # the captions of a clip are not beside one another
                writer.writerows(
                    [9 * i + voice, name, start, texts[voice]] for i, (name, start, texts) in enumerate(rows)
                )
    write_files(corpus, stems, odd, bad, video=False)
    return corpus


def make_clotho(root: Path, count: int, odd: int, bad: int) -> Corpus:
    """Clotho's table, with the traps of its names."""
    corpus = Corpus(root / "evaluation", root / "clotho_captions_evaluation.csv")
    traps = (" begins with a space", "20100422.chimney.fire", "Uh, Hi; Mom. 16", 'a "quoted" name', "Čeština é", "x_30")
    stems = []
    corpus.table.parent.mkdir(parents=True, exist_ok=True)
    with corpus.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", *(f"caption_{voice}" for voice in range(1, 6))])
        for number in range(count):
            name = f"{traps[number % len(traps)]}{number}"
            corpus.captions[name] = [f"clip {number}, heard {voice} times" for voice in range(5)]
            writer.writerow([f"{name}.wav", *corpus.captions[name]])
            stems.append((name, corpus.media / name))
    write_files(corpus, stems, odd, bad, video=False)
    return corpus


def make_wavcaps(root: Path, count: int, odd: int, bad: int) -> Corpus:
    """The JSON of WavCaps' FreeSound."""
    corpus = Corpus(root / "FreeSound", root / "json_files" / "FreeSound" / "fsd_final.json")
    stems, data = [], []
    for number in range(count):
        clip_id = f"FreeSound_{1000 + number}"
        corpus.captions[clip_id] = [f"Sound number {number} is heard."]
        data.append({"title": f"{number}.wav", "description": "", "author": "", "href": "/", "id": str(1000 + number),
                     "caption": corpus.captions[clip_id][0], "duration": SECONDS})  # fmt: skip
        stems.append((clip_id, corpus.media / str(1000 + number)))
    corpus.table.parent.mkdir(parents=True)
    corpus.table.write_text(json.dumps({"num_captions_per_audio": 1, "data": data}))
    write_files(corpus, stems, odd, bad, video=False)
    return corpus


MAKERS = {"audioset": make_audioset, "audiocaps": make_audiocaps, "clotho": make_clotho, "wavcaps": make_wavcaps}
