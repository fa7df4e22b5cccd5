"""Commands that pack made corpora, and what they left."""

import csv
from pathlib import Path

import pytest

from datamodules.prepare.__main__ import main
from datamodules.shards import Sample, read_index, read_samples
from tests.datamodules.prepare.made_corpus import Corpus


def arguments(kind: str, corpus: Corpus, output: Path, *options: str) -> list[str]:
    more = ["--no-exclude"] if kind == "audioset" and "--exclude" not in options else []
    return [
        kind, "--table", str(corpus.table), "--input", str(corpus.media), "--output", str(output), "--workers", "2",
        "--image-size", "32", *more, *options,
    ]  # fmt: skip


def packed(output: Path) -> dict[str, Sample]:
    samples = [
        sample
        for shard in read_index(output)
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: list(record["crc32"]))
    ]
    return {sample.record["id"]: sample for sample in samples}


def report(output: Path) -> list[dict[str, str]]:
    with (output / "report.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fails(capsys: pytest.CaptureFixture, *args: str) -> str:
    """The one line of a command that ends with code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(list(args))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(lines) == 1
    return lines[0]
