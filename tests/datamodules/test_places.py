"""Splits that a server has: the same clips as on disk, and no command by an index."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datamodules.batch_order import BatchOrder
from datamodules.clip_loader import EvalLoader, TrainLoader
from datamodules.clips import ClipFormat
from datamodules.kept_clips import shards_with
from datamodules.places import place
from datamodules.shards import INDEX, read_index
from earshot.errors import InputError
from tests.datamodules.served import served

SOUND = ClipFormat(sampling_rate=1000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of tmp_path."""
    with served(tmp_path) as address:
        yield address


def test_a_server_gives_the_clips_of_the_disk(uneven: tuple, server: str) -> None:
    disk, web = read_index(uneven[0]), read_index(place(server) / "corpus/uneven")
    assert str(web[3].path) == f"{server}/corpus/uneven/000003.tar"
    for workers in (0, 2):
        assert [batch.clip_ids for batch in EvalLoader(web, SOUND, 8, num_workers=workers)] == [
            batch.clip_ids for batch in EvalLoader(disk, SOUND, 8, num_workers=workers)
        ]
    order = BatchOrder(1, 2, 3, lambda: 4)
    given = [[batch.clip_ids for batch in TrainLoader(shards, SOUND, 4, order, 2, window=20)] for shards in (web, disk)]
    assert given[0] == given[1]


def test_an_index_may_name_tars_on_a_server(uneven: tuple, server: str) -> None:
    index = json.loads((uneven[0] / INDEX).read_text())
    for entry in index["shardlist"]:
        entry["url"] = f"{server}/corpus/uneven/{entry['url']}"
    (uneven[0] / INDEX).write_text(json.dumps(index))
    assert sum(len(batch.clip_ids) for batch in EvalLoader(read_index(uneven[0]), SOUND, 8)) == 78


def test_ids_come_from_the_file_beside_a_tar(pack: Callable, server: str) -> None:
    pack({f"clip{number}": {"wav": b""} for number in range(4)})
    (shard,) = shards_with(read_index(place(server) / "corpus/clips"), {"clip1", "clip3"})
    assert shard.kept == (1, 3)


def test_what_the_server_has_not_is_one_line(uneven: tuple, server: str) -> None:
    with pytest.raises(InputError, match=f"expected a wids index in {server}/nowhere/index.json, found OSError"):
        read_index(place(server) / "nowhere")
    shards = read_index(place(server) / "corpus/uneven")
    (uneven[0] / "000003.tar").unlink()
    with pytest.raises(InputError, match=f"expected a readable shard {server}/corpus/uneven/000003.tar") as caught:
        list(EvalLoader(shards, SOUND, 8, num_workers=1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["pipe:touch {0}; cat {1}", "file:{1}", "exec:touch {0}"])
def test_an_index_runs_no_command(uneven: tuple, tmp_path: Path, url: str) -> None:
    index = json.loads((uneven[0] / INDEX).read_text())
    ran = tmp_path / "ran"
    index["shardlist"][0]["url"] = url.format(ran, uneven[0] / "000000.tar")
    (uneven[0] / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"expected a file, or a URL of http, .* in the index of .*uneven; correct it"):
        read_index(uneven[0])
    assert not ran.exists()
    with pytest.raises(InputError, match="found 'pipe:ls'"):
        place("pipe:ls")


def test_a_url_reaches_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The aws command gets an odd bucket as one word."""
    (tmp_path / "aws").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "aws").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    from datamodules.places import read

    url = "s3://bucket/a b;touch x$(touch y)/000000.tar"
    assert read(place(url)) == f"s3|cp|{url}|-|".encode()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="expected the program aws, which reads s3://bucket/a"):
        read(place(url))
