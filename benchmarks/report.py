"""How long the page of a test takes: `python -m benchmarks.report`, 1,000 clips of 10 s by default.

The clips are made here: noise that comes and goes as FLAC, a picture of noise as JPEG, captions of few words. What is
timed is what `test` does at its end, from the files of the run folder to report.html. With `--seconds 30 --rate 44100`
the clips are as long as Clotho's. On a busy machine the second time is the one that compares.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from datamodules.clips import CaptionRows
from datamodules.shards import write_shards
from earshot.errors import one_line_errors
from evaluation.captions_file import FILE_NAME, write_captions
from evaluation.scores import score_rows
from reports.clip_pages.of_run import CLIPS, write_report
from reports.table import at_least

MEDIA = 20  # different sounds and pictures, which the clips take in turn
WORDS = (
    "a",
    "dog",
    "barks",
    "bell",
    "rings",
    "while",
    "rain",
    "falls",
    "loudly",
    "in",
    "the",
    "distance",
    "engine",
    "hums",
)


def main(args: Sequence[str] | None = None) -> None:
    """Make a test, write its page, print how long that took and how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=at_least(1), default=1000, help="of the test (%(default)s)")
    parser.add_argument("--seconds", type=at_least(1), default=10, help="of each clip (%(default)s)")
    parser.add_argument("--rate", type=at_least(8000), default=16000, help="of the sounds, in Hz (%(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="(%(default)s)")
    with one_line_errors():
        options = parser.parse_args(list(sys.argv[1:] if args is None else args))
        with tempfile.TemporaryDirectory() as folder:
            run = made_test(Path(folder), options)
            start, worked = time.perf_counter(), time.process_time()
            page = write_report(run / FILE_NAME)
            seconds, worked = time.perf_counter() - start, time.process_time() - worked
            size = page.stat().st_size
        print(
            f"{options.clips} clips of {options.seconds} s at {options.rate} Hz (seed {options.seed}), sound and image "
            f"of up to {CLIPS}: {seconds:.1f} s, of which this process worked {worked:.1f} s; {size / 1e6:.1f} MB"
        )


def made_test(folder: Path, options: argparse.Namespace) -> Path:
    """The run folder of a test of made clips, scored without Java."""
    rng = np.random.default_rng(options.seed)
    media = [one_media(rng, options.seconds, options.rate) for _ in range(MEDIA)]
    ids = [f"clip-{number:05d}" for number in range(options.clips)]
    rows = CaptionRows(
        clip_ids=ids,
        captions=[sentence(rng) for _ in ids],
        references=[[sentence(rng) for _ in range(5)] for _ in ids],
        labels=[[] for _ in ids],
    )

    def samples() -> Iterator[tuple[str, dict[str, bytes], dict[str, object]]]:
        for number, clip_id in enumerate(ids):
            yield clip_id, media[number % MEDIA], {"captions": rows["references"][number]}

    write_shards(folder / "data", samples())
    run = folder / "run"
    run.mkdir()
    write_captions(run / FILE_NAME, rows)
    made_by = {"clips": {"split": "made/test", "folder": str(folder / "data")}}
    score_rows(rows, run, java=False).write(run / FILE_NAME, made_by)
    return run


def one_media(rng: np.random.Generator, seconds: int, rate: int) -> dict[str, bytes]:
    """A sound as FLAC and a picture of 336 pixels as JPEG."""
    loudness = np.repeat(rng.random(seconds), rate) * 0.3
    sound, picture = io.BytesIO(), io.BytesIO()
    soundfile.write(sound, rng.normal(size=len(loudness)).clip(-3, 3) * loudness, rate, format="FLAC")
    pixels = rng.integers(0, 256, (21, 21, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((336, 336)).save(picture, "JPEG")
    return {"flac": sound.getvalue(), "5.jpg": picture.getvalue()}


def sentence(rng: np.random.Generator) -> str:
    """4 to 10 words."""
    return " ".join(rng.choice(WORDS, rng.integers(4, 11)))


if __name__ == "__main__":
    main()
