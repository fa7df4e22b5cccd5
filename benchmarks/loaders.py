"""Clips a second on one core: `python -m benchmarks.loaders --split data/miniature/audioset/train`.

The project's loader beside webdataset's own, litData (where it is installed) and decoding alone, of bytes in memory.
All decode by the same functions, the audio and one image of the miniature's clips, the audio and all ten images of made
clips of full size (10 s of FLAC at 16 kHz, JPEGs of 336 pixels). They take turns in one process, and the CPU time is
what counts. Below stands what readers of large corpora pass over, counted from the plans.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import webdataset

from benchmarks.full_size_data import samples as full_size_samples
from datamodules.batch_order import BatchOrder
from datamodules.clip_loader import TrainLoader
from datamodules.clip_reader import ClipReader, collate
from datamodules.clips import ClipBatch, ClipFormat
from datamodules.shards import Sample, Shard, read_index, read_samples, write_shards
from datamodules.stream_plan import TrainPlan, slots_of
from earshot.errors import one_line_errors
from reports.page import add_page, write_page
from reports.table import Line, at_least

BATCH = 32
CORPORA = ((2_000_000, 256, 4, 8), (2_000_000, 2048, 64, 8), (500_000, 256, 4, 8), (500_000, 256, 1, 1))


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=Path, help="of the miniature; None takes the made clips alone")
    parser.add_argument(
        "--clips", type=at_least(BATCH), default=1536, help="of a turn, small ones: whole windows (%(default)s)"
    )
    parser.add_argument("--full", type=at_least(2 * BATCH), default=96, help="of a turn, of full size (%(default)s)")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="(%(default)s)")
    add_page(parser, "runs/loaders.md")
    with one_line_errors():
        options = parser.parse_args(args)
        options.command = ["python", "-m", "benchmarks.loaders", *args]
        lines: list[Line] = []
        with tempfile.TemporaryDirectory() as folder:
            if options.split is not None:
                small = ClipFormat(sampling_rate=16000, image_size=64)
                lines += timed("miniature", options.split, small, options.clips, options.rounds, Path(folder, "a"))
            write_shards(Path(folder, "full"), flac(options.full), options.full)
            full = ClipFormat(sampling_rate=16000, image_size=336, all_images=True)
            lines += timed("full size", Path(folder, "full"), full, options.full, options.rounds, Path(folder, "b"))
        turns = f"{options.full} made clips" + (f", {options.clips} of {options.split}" if options.split else "")
        measured = [
            f"medians of {options.rounds} turns of {turns}, batches of {BATCH}, in one process of one thread, in turns",
            *([] if find_spec("litdata") else ["without litData, which is not installed"]),
        ]
        write_page(options, lines, {}, [passed_over(*corpus) for corpus in CORPORA], measured)


def flac(number: int) -> Iterator[tuple[str, dict[str, bytes], dict[str, Any]]]:
    """Clips of full size, the sound as FLAC: tones, which it compresses, in a little noise."""
    rng = np.random.default_rng(0)
    seconds = np.arange(160000) / 16000
    for clip_id, media, record in full_size_samples(number):
        tone = np.sin(2 * np.pi * rng.integers(100, 2000) * seconds) / 3 + rng.normal(0, 0.01, len(seconds))
        sound = io.BytesIO()
        soundfile.write(sound, tone, 16000, format="FLAC")
        images = {name: data for name, data in media.items() if name.endswith(".jpg")}
        yield clip_id, {"flac": sound.getvalue(), **images}, record


def timed(what: str, split: Path, wants: ClipFormat, clips: int, rounds: int, folder: Path) -> list[Line]:
    """A line for each loader, which take turns."""
    shards, reader = read_index(split), ClipReader(wants)
    few = list(islice(raw_samples(shards, reader), clips))
    runs: dict[str, Callable[[], Iterable[ClipBatch]]] = {
        "decoding alone": partial(decoded, reader, few),
        "this project": partial(iter, TrainLoader(shards, wants, BATCH)),
        "this project, a lane shared by two": partial(iter, TrainLoader(shards, wants, BATCH, order=BatchOrder(0, 2))),
        "webdataset": partial(of_webdataset, shards, reader),
    }
    if find_spec("litdata") is not None:
        runs["litData"] = of_litdata(shards, reader, clips, folder)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            given = sum(len(batch.clip_ids) for batch in islice(run(), clips // BATCH))
            seconds[name].append((time.process_time() - start) / given)
    fastest = median(seconds["decoding alone"])
    return [
        {
            "clips": what,
            "loader": name,
            "clips a second": f"{1 / median(found):,.0f}",
            "slowest and fastest turn": f"{1 / max(found):,.0f} to {1 / min(found):,.0f}",
            "of decoding alone": f"{fastest / median(found):.2f}",
        }
        for name, found in seconds.items()
    ]


def raw_samples(shards: list[Shard], reader: ClipReader) -> Iterator[Sample]:
    """The samples of a split with the media that the reader wants."""
    for shard in shards:
        yield from read_samples(shard, 0, shard.num_samples, reader.wanted)


def decoded(reader: ClipReader, some: list[Sample]) -> Iterator[ClipBatch]:
    """Batches of samples in memory."""
    for start in range(0, len(some), BATCH):
        yield collate([reader.decode(sample) for sample in some[start : start + BATCH]])


def of_webdataset(shards: list[Shard], reader: ClipReader) -> Iterator[ClipBatch]:
    """webdataset's own pipeline: tars, samples, a shuffle in a window; media that are not wanted are not extracted."""
    everything = reader.clip_format.all_images

    def select(name: str) -> bool:
        return everything or not name.endswith(".jpg") or name.endswith(".5.jpg")

    urls = [str(shard.path) for shard in shards]
    stream = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0, select_files=select).shuffle(512)
    samples = (as_sample(found["__key__"], found) for found in stream)
    while some := list(islice(samples, BATCH)):
        yield collate([reader.decode(sample) for sample in some])


def as_sample(key: str, found: dict[str, Any]) -> Sample:
    """A sample of the bytes by extension."""
    media = {name: data for name, data in found.items() if name.endswith((".jpg", "wav", "flac"))}
    return Sample(Path(), key, json.loads(found["json"]), media)


def of_litdata(shards: list[Shard], reader: ClipReader, clips: int, folder: Path) -> Callable[[], Iterator[ClipBatch]]:
    """litData's dataset of the same bytes, packed into its own format here."""
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    whole = ClipReader(reader.clip_format)
    for number, sample in enumerate(islice(raw_samples(shards, whole), clips)):
        writer[number] = {"key": sample.key, "record": json.dumps(sample.record), **sample.media}
    writer.done()
    writer.merge()

    def batches() -> Iterator[ClipBatch]:
        stream = iter(StreamingDataset(str(folder), shuffle=True))
        while some := list(islice(stream, BATCH)):
            samples = [Sample(Path(), found.pop("key"), json.loads(found.pop("record")), found) for found in some]
            yield collate([reader.decode(sample) for sample in samples])

    return batches


def passed_over(clips: int, slots: int, ranks: int, workers: int, in_shard: int = 1000) -> str:
    """What readers come across and do not want, for all that they want, in an epoch of all ranks."""
    plan = TrainPlan([in_shard] * (clips // in_shard), slots)
    read = 0
    for rank in range(ranks):
        for worker in range(workers):
            share = slots_of(slots, slots // ranks, world=ranks, rank=rank, workers=workers, worker=worker)
            for lane in {slot // plan.width for part in share for slot in part}:
                pieces = plan.pieces(lane)
                read += pieces[0].start + sum(piece.stop - piece.start for piece in pieces)
    share = read / (plan.steps * slots) - 1
    return (
        f"{clips:,} clips in shards of {in_shard:,}, steps of {slots}, {ranks} x {workers} readers: for each clip "
        f"that is wanted, {share:.2f} are passed over undecoded"
    )


if __name__ == "__main__":
    main()
