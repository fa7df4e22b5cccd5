"""python -m benchmarks.prepare: how fast `earshot prepare` packs, as a share of what decoding alone costs.

Two folders are made in a temporary place: videos like AudioSet's (10 s of H.264 at 640x360 and 25 frames per second,
with AAC in stereo at 44.1 kHz), and audio files (10 s of AAC alone). Decoding alone decodes every frame and sample of
each file by PyAV and keeps nothing; `prepare folder` packs them with its defaults. Both run in the same processes, of
one thread each, in turns. CPU seconds are those of the workers and, for `prepare`, of the process that writes, without
their start; medians of the rounds. From the root of the project. Exit code 1 where the share is below the floor.
"""

import argparse
import csv
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import scipy.signal
from PIL import Image

from datamodules.prepare import pack
from datamodules.prepare.__main__ import main as prepare
from datamodules.prepare.encode import Encoded, Encoding, Source, encode
from datamodules.prepare.workers import in_order

SECONDS, FRAMES_PER_SECOND, SIZE, RATE = 10, 25, (640, 360), 44100
FLOOR = 0.75  # of the videos; 85% is aimed at, and a busy machine measures some percent less or more
CLIPS, CORES = 500_000, 64  # that DALI trains on, and of a node


def make_file(path: Path, seed: int, video: bool) -> None:
    """A moving, noisy picture, since a flat one would decode in no time, and stereo noise of low frequencies."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        if video:
            stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="stereo")
        texture = Image.fromarray(rng.integers(0, 255, (90, 320, 3), dtype=np.uint8))
        wide = np.asarray(texture.resize((2 * SIZE[0], SIZE[1]), Image.Resampling.BICUBIC), np.int16)
        for number in range(SECONDS * FRAMES_PER_SECOND if video else 0):
            begin = (2 + seed % 3) * number % SIZE[0]
            picture = wide[:, begin : begin + SIZE[0]] + rng.integers(-6, 7, (SIZE[1], SIZE[0], 1))
            picture = np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if video:
            container.mux(stream.encode())
        steps = rng.normal(0, 0.02, (2, SECONDS * RATE))
        samples = scipy.signal.lfilter([1.0], [1.0, -0.97], steps).astype(np.float32)  # white noise is not packed well
        for begin in range(0, samples.shape[1], 1024):
            part = np.ascontiguousarray(samples[:, begin : begin + 1024])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def decode(path: Path) -> tuple[int, float, float]:
    """Decode all of a file; returns the process, and the CPU seconds it had taken before and after."""
    begun = time.process_time()
    with av.open(str(path)) as container:
        for stream in container.streams.video:
            stream.codec_context.thread_count = 1
        for _ in container.decode():
            pass
    return os.getpid(), begun, time.process_time()


def timed(job: tuple[Source, Encoding]) -> Encoded:
    """In place of the packing itself: the same, and the CPU seconds in the report's detail."""
    begun = time.process_time()
    encoded = encode(*job)
    return Encoded(encoded.media, encoded.reason, f"{os.getpid()} {begun} {time.process_time()}")


def total(taken: Iterable[tuple[int, float, float]]) -> float:
    """CPU seconds of all processes, each from the beginning of its first job to the end of its last."""
    begun: dict[int, float] = {}
    ended: dict[int, float] = {}
    for process, begin, end in taken:
        begun[process] = min(begin, begun.get(process, begin))
        ended[process] = max(end, ended.get(process, end))
    return sum(ended.values()) - sum(begun.values())


def run_decode(folder: Path, workers: int) -> float:
    """CPU seconds of decoding a folder."""
    return total(result for _, result in in_order(decode, sorted(folder.iterdir()), workers))


def run_prepare(folder: Path, output: Path, workers: int) -> tuple[float, float]:
    """CPU seconds of the workers that pack a folder, and of the process that writes."""
    begun = time.process_time()
    prepare(["folder", "--input", str(folder), "--output", str(output), "--workers", str(workers)])
    writing = time.process_time() - begun
    with (output / "report.csv").open(newline="") as file:
        told = [row["detail"].split() for row in csv.DictReader(file)]
    shutil.rmtree(output)
    return total((int(process), float(begin), float(end)) for process, begin, end in told), writing


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=48, help="of a folder (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args()
    pack._encode = timed  # type: ignore[assignment]  # the same function, which also tells its time
    multiprocessing.set_forkserver_preload([timed.__module__])
    rows, share = [], 0.0
    with tempfile.TemporaryDirectory() as place:
        for kind, ending in (("audio", "m4a"), ("video", "mp4")):
            folder = Path(place) / kind
            folder.mkdir()
            for seed in range(options.clips):
                path = folder / f"{seed}.{ending}"
                if seed < 4:
                    make_file(path, seed, kind == "video")
                else:
                    os.link(folder / f"{seed % 4}.{ending}", path)
            found = []
            for _ in range(options.rounds):
                alone = run_decode(folder, options.workers) / options.clips
                workers, writing = run_prepare(folder, Path(place) / "out", options.workers)
                found.append((alone, workers / options.clips, writing / options.clips))
            alone, workers, writing = (statistics.median(column) for column in zip(*found))
            share = alone / (workers + writing)
            days = CLIPS * max((workers + writing) / CORES, writing) / 86400
            rows.append(
                f"| {kind} | {1000 * alone:.1f} | {1000 * workers:.1f} | {1000 * writing:.2f} | {100 * share:.0f}% | "
                f"{days:.2f} | {CLIPS * writing / 3600:.2f} |"
            )
    print(
        f"\n{options.clips} clips of {SECONDS} s, {options.rounds} rounds, {options.workers} workers; ms of CPU a clip"
    )
    print("| clips | decoding alone | prepare, workers | prepare, writing | share | ", end="")
    print(f"days of {CLIPS:,} on {CORES} cores | hours of its writing process |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    if share < FLOOR:
        sys.exit(f"below the floor: {share:.2f} < {FLOOR} of the videos")


if __name__ == "__main__":
    main()
