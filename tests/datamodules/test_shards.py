"""Shards: webdataset reads them too, they are the same each time, and damage is told clearly."""

import json
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset

from datamodules.shard_ids import ids_beside
from datamodules.shards import INDEX, Sample, index_digest, read_index, read_samples, sample_ids, write_shards
from earshot.errors import InputError
from tests.datamodules.made_clips import pack_counts

CLIPS = [(f"clip.{number}", {"wav": bytes([number]) * 700, "0.jpg": b"picture"}, {}) for number in range(5)]


def read_all(folder: Path, wanted: Callable = lambda record: list(record["crc32"])) -> list[Sample]:
    return [sample for shard in read_index(folder) for sample in read_samples(shard, 0, shard.num_samples, wanted)]


def test_what_is_written_is_read_and_webdataset_reads_it_too(tmp_path: Path) -> None:
    write_shards(tmp_path, [("-Yx_30.000", {"wav": b"sound"}, {"captions": ["a bell"], "scene": "hill"})] + CLIPS, 4)
    samples = read_all(tmp_path)
    assert [sample.record["id"] for sample in samples] == ["-Yx_30.000"] + [f"clip.{number}" for number in range(5)]
    crc32 = {"wav": zlib.crc32(b"sound")}
    assert samples[0].record == {
        "id": "-Yx_30.000", "captions": ["a bell"], "labels": [], "scene": "hill", "crc32": crc32
    }  # fmt: skip
    assert samples[3].media == CLIPS[2][1]

    urls = [str(shard.path) for shard in read_index(tmp_path)]
    read = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert [json.loads(sample["json"])["id"] for sample in read] == [sample.record["id"] for sample in samples]
    assert read[0]["__key__"] == "-Yx_30%2E000" and read[0]["wav"] == b"sound" and read[3]["0.jpg"] == b"picture"
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["wids_version"] == 1 and index["shardlist"][1]["url"] == "000001.tar"
    assert [entry["nsamples"] for entry in index["shardlist"]] == [4, 2] and index["num_samples"] == 6


def test_ids_in_a_folder_that_webdataset_takes_for_metadata_are_read(tmp_path: Path) -> None:
    write_shards(tmp_path, [(clip_id, {"wav": b"sound"}, {}) for clip_id in ("__data__/a", "__b__", "ok/c")])
    samples = read_all(tmp_path)
    assert [sample.record["id"] for sample in samples] == ["__data__/a", "__b__", "ok/c"]
    assert all(sample.media == {"wav": b"sound"} for sample in samples)


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    first, second = (write_shards(tmp_path / name, CLIPS, 3) for name in "ab")
    assert [shard.path.read_bytes() for shard in first] == [shard.path.read_bytes() for shard in second]
    assert index_digest(first) == index_digest(second) != index_digest(first[:1])


def test_only_the_wanted_media_are_read_or_checked(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, CLIPS, 10)
    shard.path.write_bytes(shard.path.read_bytes().replace(b"picture", b"gesture"))
    samples = list(read_samples(shard, 1, 3, lambda record: ["wav"]))
    assert [sample.record["id"] for sample in samples] == ["clip.1", "clip.2"]
    assert all(sample.media.keys() == {"wav"} for sample in samples)
    with pytest.raises(InputError, match=r"CRC-32 of clip%2E1\.0\.jpg"):
        list(read_samples(shard, 1, 3, lambda record: ["0.jpg"]))


def test_ids_are_those_in_the_tar_with_and_without_the_file_beside_it(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, CLIPS, 10)
    assert sample_ids(shard) == [f"clip.{number}" for number in range(5)]
    ids_beside(shard.path).write_text("[]")
    with pytest.raises(InputError, match="expected 5 ids of samples in .*000000.tar, found 0"):
        sample_ids(shard)
    ids_beside(shard.path).unlink()
    assert sample_ids(shard) == [f"clip.{number}" for number in range(5)]
    shard.path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="expected a readable shard .*000000.tar"):
        sample_ids(shard)


@pytest.mark.parametrize("kept", [(0, 1), (1, 3), (2,), (0, 2, 4), (4,), (0, 1, 2, 3, 4)])
def test_kept_samples_are_read_as_if_they_were_all(tmp_path: Path, kept: tuple[int, ...]) -> None:
    (shard,) = write_shards(tmp_path, CLIPS, 10)
    some = replace(shard, kept=kept)
    assert some.num_samples == len(kept)
    for start in range(len(kept) + 1):
        for stop in range(start, len(kept) + 1):
            samples = read_samples(some, start, stop, lambda record: ["wav"])
            assert [(s.record["id"], s.media["wav"]) for s in samples] == [
                (f"clip.{number}", bytes([number]) * 700) for number in kept[start:stop]
            ]
    assert len({index_digest([shard]), index_digest([some]), index_digest([replace(shard, kept=(3, 4))])}) == 3


def test_a_tar_of_fewer_samples_is_told_where_only_some_are_read(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, CLIPS, 10)
    with pytest.raises(InputError, match="expected 9 samples in .*, found 5"):
        list(read_samples(replace(shard, in_tar=9, kept=(1, 8)), 0, 2, lambda record: []))


def test_an_interrupted_writer_leaves_no_split(tmp_path: Path) -> None:
    def interrupted():
        yield from CLIPS[:3]
        raise KeyboardInterrupt

    write_shards(tmp_path, CLIPS, 2)  # an older, whole split must not cover for the new one
    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, interrupted(), 2)
    with pytest.raises(InputError, match="no index.json"):
        read_index(tmp_path)


@pytest.mark.parametrize("samples, message", [([], "at least one clip"), (CLIPS + CLIPS[:1], "'clip.0' twice")])
def test_nothing_and_an_id_twice_are_refused(tmp_path: Path, samples: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_shards(tmp_path, samples, 10)
    assert not (tmp_path / INDEX).exists()


def test_a_missing_or_empty_index_or_tar_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no such folder.*datamodules.prepare"):
        read_index(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found no index.json"):
        read_index(tmp_path)
    (tmp_path / INDEX).write_text("{}")
    with pytest.raises(InputError, match="wids index"):
        read_index(tmp_path)
    (tmp_path / INDEX).write_text('{"shardlist": []}')
    with pytest.raises(InputError, match="empty index"):
        read_index(tmp_path)
    (tmp_path / INDEX).write_text('{"shardlist": [{"url": "000007.tar", "nsamples": 3}]}')
    with pytest.raises(InputError, match="000007.tar, found no such file"):
        read_index(tmp_path)


def test_a_tar_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, CLIPS, 10)
    whole = shard.path.read_bytes()
    with tarfile.open(shard.path) as tar:
        end = max(member.offset_data + member.size for member in tar)
    for size in range(0, end, 256):  # inside headers and media, and on every boundary
        shard.path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="expected"):
            read_all(tmp_path)


@pytest.mark.parametrize(
    "promised, message", [(6, "expected 6 samples .* found 5"), (4, "expected 4 samples .* found more")]
)
def test_an_index_that_miscounts_is_an_error(tmp_path: Path, promised: int, message: str) -> None:
    write_shards(tmp_path, CLIPS, 10)
    index = tmp_path / INDEX
    index.write_text(index.read_text().replace('samples": 5', f'samples": {promised}'))
    with pytest.raises(InputError, match=message):
        read_all(tmp_path)


def test_a_shard_of_another_layout_is_refused(tmp_path: Path) -> None:
    """webdataset's own writer sorts the members: media may come before the JSON with their CRC-32."""
    with webdataset.TarWriter(str(tmp_path / "000000.tar")) as writer:
        for clip_id, media, _ in CLIPS:
            record = {"id": clip_id, "crc32": {name: zlib.crc32(data) for name, data in media.items()}}
            writer.write({"__key__": clip_id.replace(".", "%2E"), "json": record, **media})
    (tmp_path / INDEX).write_text('{"shardlist": [{"url": "000000.tar", "nsamples": 5}]}')
    with pytest.raises(InputError, match="expected the JSON of clip%2E1|expected clip%2E0"):
        read_all(tmp_path)


def swap(folder: Path) -> None:
    first, second = folder / "000000.tar", folder / "000001.tar"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def edit_index(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        change(index)
        (folder / INDEX).write_text(json.dumps(index))

    return edit


def replace_bytes(old: bytes, new: bytes) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "000000.tar"
        assert path.read_bytes().count(old) and len(old) == len(new)
        path.write_bytes(path.read_bytes().replace(old, new))

    return edit


def copy_a_sample(folder: Path) -> None:
    """The second sample of the first tar becomes a copy of the first; headers and all."""
    path = folder / "000000.tar"
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar if member.name.endswith(".json")]
    data = path.read_bytes()
    size = starts[1] - starts[0]
    path.write_bytes(data[: starts[1]] + data[:size] + data[starts[1] + size :])


def take_from_another_split(folder: Path) -> None:
    others = [(clip_id, media, {"captions": ["another"]}) for clip_id, media, _ in CLIPS]
    write_shards(folder / "other", others, 2)
    (folder / "000000.tar").write_bytes((folder / "other" / "000000.tar").read_bytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap, "packed as number 0 of .*000000.tar, found another"),
        (copy_a_sample, "packed as number 1 of .*000000.tar, found another, of clip%2E0"),
        (take_from_another_split, "expected the samples of the index in .*000000.tar, found others"),
        (replace_bytes(b'"captions": ["a bell"]', b'"captions": ["a ball"]'), "packed as number 0"),
        (replace_bytes(b'"id": "clip.0"', b'"id": "clip.9"'), "packed as number 0"),
        (replace_bytes(b"checksum", b"checksun"), "packed as number 0"),
        (edit_index(lambda index: index["shardlist"].pop(1)), "expected 5 samples in .*index.json, found 3"),
        (edit_index(lambda index: index["shardlist"].append(index["shardlist"][0])), "found it twice"),
        (edit_index(lambda index: index["shardlist"][0].update(nsamples=0)), "found 0 of them"),
        (edit_index(lambda index: index["shardlist"][0].update(nsamples=-5)), "found -5 of them"),
    ],
)
def test_no_clip_is_lost_or_changed_in_silence(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    write_shards(tmp_path, [(clip_id, media, {"captions": ["a bell"]}) for clip_id, media, _ in CLIPS], 2)
    assert len(read_all(tmp_path)) == 5
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        read_all(tmp_path)


@pytest.mark.parametrize("odd", [{"captions": None}, {"captions": [7]}, {"captions": "a bell"}, {"labels": {"a": 1}}])
def test_a_json_of_other_types_is_named(odd: dict, tmp_path: Path) -> None:
    write_shards(tmp_path, [(clip_id, media, odd) for clip_id, media, _ in CLIPS])
    with pytest.raises(InputError, match=f"expected {next(iter(odd))} as packed in clip%2E0.json in .*000000.tar"):
        read_all(tmp_path)


def test_the_digest_of_a_split_knows_its_contents(tmp_path: Path) -> None:
    """Other media, or other captions, of the same ids."""
    splits = [
        write_shards(tmp_path / name, [(clip_id, {"wav": sound}, {"captions": [words]}) for clip_id, _, _ in CLIPS])
        for name, sound, words in (("a", b"1", "x"), ("b", b"2", "x"), ("c", b"1", "y"))
    ]
    assert len({index_digest(shards) for shards in splits}) == 3
    assert index_digest(splits[0]) == index_digest(read_index(tmp_path / "a"))


def test_a_split_of_an_older_version_is_read(tmp_path: Path) -> None:
    """Neither digests in the index nor checksums in the tar."""
    write_shards(tmp_path, CLIPS, 2)
    edit_index(lambda index: (index.pop("num_samples"), [entry.pop("digest") for entry in index["shardlist"]]))(
        tmp_path
    )
    for path in tmp_path.glob("*.tar"):
        path.write_bytes(path.read_bytes().replace(b', "checksum"', b', "cheeksum"'))
    assert [sample.record["id"] for sample in read_all(tmp_path)] == [f"clip.{number}" for number in range(5)]


def test_a_split_of_an_older_version_that_is_replaced_has_another_digest(tmp_path: Path) -> None:
    """Its index has no digests; the sizes of the tars tell it, wherever they are."""
    for name in ("old", "copy", "other"):
        (tmp_path / name).mkdir()
        pack_counts(tmp_path / name, [3, 2], frames=9 if name == "other" else 2)
    assert all(shard.digest is None for shard in read_index(tmp_path / "old"))
    old, copy, other = (index_digest(read_index(tmp_path / name)) for name in ("old", "copy", "other"))
    assert old == copy != other
