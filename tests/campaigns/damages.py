"""Every kind of damage to a small packed split, and what must come of it."""

import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.shard_ids import ids_beside
from datamodules.shards import INDEX, write_shards
from tests.datamodules.made_clips import clip_media

FIELDS = {  # of a tar's header, in bytes (POSIX.1-1988, ustar); numbers end before their NUL or space
    "name": (0, 12), "mode": (100, 107), "owner": (108, 123), "size": (124, 135), "time": (136, 147),
    "checksum": (148, 154), "type": (156, 157), "name of a link": (157, 257), "magic": (257, 265),
    "names of the owner": (265, 329), "device": (329, 345), "prefix": (345, 500), "rest of a header": (500, 512),
}  # fmt: skip
Damage = Callable[[Path, random.Random], object]


@dataclass(frozen=True)
class Case:
    """A damage, and what must come of it: "named", "unharmed", or either of them where None."""

    region: str
    what: str
    damage: Damage
    must: str | None = None


def make_split(folder: Path) -> None:
    """Three tars of five clips, each with sound and two frames."""
    clips = ((f"clip.{number}", clip_media(number, 2), {"captions": [f"bell {number}"]}) for number in range(15))
    write_shards(folder, clips, 5)


def a_tar(folder: Path, rng: random.Random) -> tuple[Path, list[tarfile.TarInfo]]:
    """One of the tars, and its members."""
    path = folder / f"{rng.randrange(3):06d}.tar"
    with tarfile.open(path) as tar:
        return path, tar.getmembers()


def flip(path: Path, start: int, stop: int, rng: random.Random) -> None:
    """Change one bit between two places of a file."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(start, stop)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def in_header(field: str, ending: str = "") -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        path, members = a_tar(folder, rng)
        member = rng.choice([member for member in members if member.name.endswith(ending)])
        first, last = FIELDS[field]
        flip(path, member.offset + first, member.offset + last, rng)

    return damage


def with_checksum(change: Callable[[tarfile.TarInfo], object], ending: str = ".wav") -> Damage:
    """A header that says something else, and has the checksum for it."""

    def damage(folder: Path, rng: random.Random) -> None:
        path, members = a_tar(folder, rng)
        member = rng.choice([member for member in members if member.name.endswith(ending)])
        data, place = bytearray(path.read_bytes()), member.offset
        change(member)
        data[place : place + 512] = member.tobuf(tarfile.GNU_FORMAT)[:512]
        path.write_bytes(data)

    return damage


def in_data(ending: str) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        path, members = a_tar(folder, rng)
        member = rng.choice([member for member in members if member.name.endswith(ending)])
        flip(path, member.offset_data, member.offset_data + member.size, rng)

    return damage


def in_padding(ending: str) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        path, members = a_tar(folder, rng)
        padded = [member for member in members if member.name.endswith(ending) and member.size % 512]
        member = rng.choice(padded)
        end = member.offset_data + member.size
        flip(path, end, end + -member.size % 512, rng)

    return damage


def in_end_blocks(folder: Path, rng: random.Random) -> None:
    path, members = a_tar(folder, rng)
    last = members[-1]
    end = last.offset_data + last.size + -last.size % 512
    flip(path, end, end + 1024, rng)


def in_filling(folder: Path, rng: random.Random) -> None:
    """After the two blocks that end a tar."""
    path, members = a_tar(folder, rng)
    last = members[-1]
    flip(path, last.offset_data + last.size + -last.size % 512 + 1024, path.stat().st_size, rng)


def cut(folder: Path, rng: random.Random) -> None:
    path, members = a_tar(folder, rng)
    path.write_bytes(path.read_bytes()[: rng.randrange(1, members[-1].offset_data + members[-1].size)])


def rearranged(order: Callable[[list[bytes], random.Random], list[bytes]]) -> Damage:
    """The samples of a tar in another order, or not all of them."""

    def damage(folder: Path, rng: random.Random) -> None:
        path, members = a_tar(folder, rng)
        data = path.read_bytes()
        starts = [member.offset for member in members if member.name.endswith(".json")]
        last = members[-1]
        end = last.offset_data + last.size + -last.size % 512
        samples = [data[start:stop] for start, stop in zip(starts, [*starts[1:], end])]
        path.write_bytes(b"".join(order(samples, rng)) + bytes(10240))

    return damage


def without_one(samples: list[bytes], rng: random.Random) -> list[bytes]:
    at = rng.randrange(len(samples))
    return samples[:at] + samples[at + 1 :]


def one_twice(samples: list[bytes], rng: random.Random) -> list[bytes]:
    first, second = rng.sample(range(len(samples)), 2)
    return [samples[first] if at == second else sample for at, sample in enumerate(samples)]


def two_swapped(samples: list[bytes], rng: random.Random) -> list[bytes]:
    first, second = rng.sample(range(len(samples)), 2)
    samples[first], samples[second] = samples[second], samples[first]
    return samples


def two_tars(how: Callable[[Path, Path], object]) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        one, other = rng.sample(range(3), 2)
        how(folder / f"{one:06d}.tar", folder / f"{other:06d}.tar")

    return damage


def swap(one: Path, other: Path) -> None:
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def instead_of_a_tar(make: Callable[[Path], object]) -> Damage:
    def damage(folder: Path, rng: random.Random) -> None:
        path = folder / f"{rng.randrange(3):06d}.tar"
        path.unlink()
        make(path)

    return damage


def in_index(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Damage:
    """An index whose content, or one of whose entries, is another."""

    def damage(folder: Path, rng: random.Random) -> None:
        index = json.loads((folder / INDEX).read_text())
        change(index, rng.choice(index["shardlist"]))
        (folder / INDEX).write_text(json.dumps(index))

    return damage


def in_value_of_index(key: str) -> Damage:
    """One bit of a value in the index file."""

    def damage(folder: Path, rng: random.Random) -> None:
        data = (folder / INDEX).read_bytes()
        name = f'"{key}": '.encode()
        places = [at for at in range(len(data)) if data.startswith(name, at)]
        start = rng.choice(places) + len(name)
        stop = min(at for at in (data.find(mark, start) for mark in (b",", b"\n")) if at > 0)
        flip(folder / INDEX, start, stop, rng)

    return damage


def of_file(name: str, change: Callable[[Path, random.Random], object]) -> Damage:
    return lambda folder, rng: change(folder / name, rng)


def anywhere(path: Path, rng: random.Random) -> None:
    flip(path, 0, path.stat().st_size, rng)


def halved(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def cases() -> list[Case]:
    """All kinds of damage."""
    named, unharmed = "named", "unharmed"
    fields = [Case("header", f"bit of the {field}", in_header(field)) for field in FIELDS]
    tar = [
        Case("header with its checksum", "size 2^60", with_checksum(lambda m: setattr(m, "size", 2**60)), named),
        Case("header with its checksum", "size 0", with_checksum(lambda m: setattr(m, "size", 0)), named),
        Case("header with its checksum", "size 2^60 of a JSON",
             with_checksum(lambda m: setattr(m, "size", 2**60), ".json"), named),
        Case("header with its checksum", "a folder", with_checksum(lambda m: setattr(m, "type", b"5")), named),
        Case("header with its checksum", "a sparse file", with_checksum(lambda m: setattr(m, "type", b"S")), named),
        Case("header with its checksum", "a long name", with_checksum(lambda m: setattr(m, "type", b"L")), named),
        Case("header with its checksum", "a link", with_checksum(
            lambda m: (setattr(m, "type", b"2"), setattr(m, "linkname", "/etc/passwd"))), named),
        Case("header with its checksum", "name ../x.wav", with_checksum(lambda m: setattr(m, "name", "../x.wav")),
             named),
        Case("header with its checksum", "name ../x.json",
             with_checksum(lambda m: setattr(m, "name", "../x.json"), ".json"), named),
        Case("header with its checksum", "name of another clip",
             with_checksum(lambda m: setattr(m, "name", "clip%2E99.wav")), named),
        Case("header with its checksum", "mode", with_checksum(lambda m: setattr(m, "mode", 0o777)), unharmed),
        Case("JSON", "bit", in_data(".json"), named),
        Case("audio", "bit", in_data(".wav"), named),
        Case("image", "bit", in_data(".jpg"), named),
        Case("padding", "bit after a JSON", in_padding(".json"), unharmed),
        Case("padding", "bit after audio", in_padding(".wav"), unharmed),
        Case("padding", "bit after an image", in_padding(".jpg"), unharmed),
        Case("end blocks", "bit", in_end_blocks),
        Case("end blocks", "bit after them", in_filling, unharmed),
        Case("tar", "cut", cut, named),
        Case("tar", "a sample less", rearranged(without_one), named),
        Case("tar", "a sample over another", rearranged(one_twice), named),
        Case("tar", "two samples swapped", rearranged(two_swapped), named),
        Case("tar", "two tars swapped", two_tars(swap), named),
        Case("tar", "a tar over another", two_tars(shutil.copyfile), named),
        Case("tar", "missing", instead_of_a_tar(lambda path: None), named),
        Case("tar", "empty", instead_of_a_tar(lambda path: path.touch()), named),
        Case("tar", "a folder", instead_of_a_tar(lambda path: path.mkdir()), named),
        Case("tar", "a FIFO", instead_of_a_tar(lambda path: os.mkfifo(path)), named),
        Case("tar", "/dev/zero", instead_of_a_tar(lambda path: path.symlink_to("/dev/zero")), named),
        Case("tar", "a web page", instead_of_a_tar(lambda path: path.write_text("<html>" * 5000)), named),
    ]  # fmt: skip
    entry = [
        Case(
            "index", f"nsamples {value!r}", in_index(lambda index, one, value=value: one.update(nsamples=value)), named
        )
        for value in (0, -5, 4, 6, 10**18, None, [5], "five", 5.5, 1e999, True)
    ]
    index = [
        *entry,
        Case("index", "bit of an nsamples", in_value_of_index("nsamples"), named),
        Case("index", "bit of a url", in_value_of_index("url"), named),
        Case("index", "bit of a digest", in_value_of_index("digest"), named),
        Case("index", "bit of num_samples", in_value_of_index("num_samples"), named),
        Case("index", "bit of __kind__", in_value_of_index("__kind__")),
        Case("index", "bit anywhere", of_file(INDEX, anywhere)),
        Case("index", "cut", of_file(INDEX, halved), named),
        Case("index", "entry missing", in_index(lambda index, one: index["shardlist"].remove(one)), named),
        Case("index", "entry twice", in_index(lambda index, one: index["shardlist"].append(one)), named),
        Case("index", "entry twice, one by another name",
             in_index(lambda index, one: index["shardlist"].append({**one, "url": f"./{one['url']}"})), named),
        Case("index", "entries swapped", in_index(lambda index, one: index["shardlist"].reverse())),
        Case("index", "url out of the folder", in_index(lambda index, one: one.update(url="../x.tar")), named),
        Case("index", "url /etc/passwd", in_index(lambda index, one: one.update(url="/etc/passwd")), named),
        Case("index", "url null", in_index(lambda index, one: one.update(url=None)), named),
        Case("index", "digest 7", in_index(lambda index, one: one.update(digest=7)), named),
        Case("index", "a list", of_file(INDEX, lambda path, rng: path.write_text("[1, 2]")), named),
        Case("index", "Latin-1", of_file(INDEX, lambda path, rng: path.write_bytes(b'{"\xe9": 1}')), named),
    ]  # fmt: skip
    ids = [
        Case("ids beside a tar", "bit of an id",
             of_file("000001.ids.json", lambda path, rng: flip(path, 10, 18, rng)), named),
        Case("ids beside a tar", "two files swapped",
             two_tars(lambda one, other: swap(ids_beside(one), ids_beside(other))), named),
        Case("ids beside a tar", "cut", of_file("000002.ids.json", halved), named),
        Case("ids beside a tar", "missing", of_file("000002.ids.json", lambda path, rng: path.unlink()), unharmed),
    ]  # fmt: skip
    return [*fields, *tar, *index, *ids]
