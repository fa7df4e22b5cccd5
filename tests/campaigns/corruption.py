"""Damage a packed split in every region of its bytes, read it, and note what was said.

    python -m tests.campaigns.corruption --mutations 200 --seed 0 --output docs/results/corruption.md

A damaged split must either give every sample as it was packed, or be named in one line. Anything else is silent
damage, a hang or a traceback, and ends the command with exit code 1.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from datamodules.sample_json import AGAIN
from datamodules.shard_ids import ids_beside
from datamodules.shards import INDEX, read_index, read_samples, records, sample_ids, write_shards
from earshot.atomic import write_text
from earshot.errors import InputError
from earshot.provenance import provenance
from tests.datamodules.made_clips import clip_media

SECONDS = 20  # after which reading hangs
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


def content(folder: Path) -> list[Any]:
    """All that a split says: of each sample its key, its JSON and its media; then the ids beside the tars."""
    found: list[Any] = []
    list(records(read_index(folder)))  # media are passed over, which must end, too
    for shard in read_index(folder):
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: list(record["crc32"])):
            found.append((sample.key, sample.record, sample.media))
    found.sort(key=lambda sample: sample[0])  # of any order of the tars
    return [*found, *sorted(sample_ids(shard) for shard in read_index(folder))]


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


class Hangs(BaseException):
    """Not a TimeoutError, which is an OSError, and those are named."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise `Hangs` in the block when it takes longer."""

    def stop(signum: int, frame: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(folder: Path, before: list[Any]) -> tuple[str, str]:
    """ "named", "unharmed", "silent", "hangs" or "traceback", and what was said."""
    try:
        with at_most(SECONDS):
            return ("unharmed" if content(folder) == before else "silent"), ""
    except InputError as error:
        said = str(error).replace(f"{folder}/", "")
        return ("named" if len(said.splitlines()) == 1 else "traceback"), said
    except Hangs:
        return "hangs", ""
    except Exception as error:  # whatever reading does not expect
        return "traceback", repr(error)


def campaign(mutations: int, seed: int) -> list[tuple[Case, str, str]]:
    """At least one damage of each kind, the kinds of one bit again until there are `mutations`."""
    kinds = cases()
    again = [kind for kind in kinds if "bit" in kind.what or kind.what == "cut"]
    chosen = [*kinds, *(again[number % len(again)] for number in range(mutations - len(kinds)))]
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary, "whole")
        make_split(whole)
        before = content(whole)
        for number, case in enumerate(chosen):
            folder = Path(temporary, f"damaged-{number}")
            shutil.copytree(whole, folder)
            case.damage(folder, random.Random(f"{seed} {number}"))
            found.append((case, *outcome(folder, before)))
            shutil.rmtree(folder)
    return found


def wrong(found: list[tuple[Case, str, str]]) -> list[tuple[Case, str, str]]:
    """Those that did not come out as they must."""
    return [one for one in found if one[1] not in ("named", "unharmed") or one[0].must not in (None, one[1])]


def table(found: list[tuple[Case, str, str]], seed: int) -> str:
    """The page of the results."""
    regions = dict.fromkeys(case.region for case, _, _ in found)
    outcomes = ("named", "unharmed", "silent", "hangs", "traceback")
    lines = [
        "# Damaged shards", "",
        f"{len(found)} copies of a small packed split, each damaged in one place and read. Named: reading ended with "
        "one line that names the file. Unharmed: every sample was read as it was packed.", "",
        f"| where | {' | '.join(outcomes)} |", f"|---|{'---|' * len(outcomes)}",
    ]  # fmt: skip
    for region in regions:
        counts = Counter(how for case, how, _ in found if case.region == region)
        lines.append(f"| {region} | {' | '.join(str(counts[how]) for how in outcomes)} |")
    lines += ["", "## What was said", "", "| where | damage | times | outcome | such as |", "|---|---|---|---|---|"]
    kinds = {(case.region, case.what, how): said for case, how, said in found}
    times = Counter((case.region, case.what, how) for case, how, _ in found)
    for (region, what, how), said in kinds.items():
        shown = said.replace("|", "&#124;").replace("<", "&lt;").replace(f"; {AGAIN}", "; ...")
        lines.append(f"| {region} | {what} | {times[region, what, how]} | {how} | {shown} |")
    origin = provenance()
    command = f"python -m tests.campaigns.corruption --mutations {len(found)} --seed {seed}"
    lines += [
        "", "## How this was measured", "",
        "- three tars of five clips, sound and two images each; all media of all clips are read, and the ids beside "
        "the tars", f"- a read longer than {SECONDS} s counts as a hang; seed {seed}", f"- command: `{command}`",
        "- versions: " + ", ".join(f"{name} {value}" for name, value in origin.items() if name != "command"),
        f"- date: {date.today()}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Run the campaign and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    found = campaign(options.mutations, options.seed)
    bad = wrong(found)
    for case, how, said in bad:
        print(f"{case.region}, {case.what}: {how} {said}", file=sys.stderr)
    print(f"{len(found)} damages, {len(bad)} not as they must")
    if options.output is not None:
        write_text(options.output, table(found, options.seed))
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
