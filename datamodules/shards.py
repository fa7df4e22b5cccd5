"""Packed splits: WebDataset tars, and the wids index of webdataset with the sample count of each tar.

A sample begins with its JSON, which has the clip's id, captions, labels and the CRC-32 of its media, and at its end a
checksum of all this and of its place: the tar's name and the sample's number in it. The media follow: `<key>.wav` or
`<key>.flac`, and `<key>.0.jpg` to `<key>.9.jpg`. The key is the id with its dots quoted, since a key ends at the first
dot for webdataset. The index also has a digest of the JSONs of each tar. Splits of older versions have neither.
"""

import hashlib
import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from webdataset.tariterators import tar_file_iterator

from datamodules.missing_shards import LeftOut, MissingShard, require_few
from datamodules.places import ToItsEnd, UrlPath, exists, opened, place, read, size_of
from datamodules.sample_json import AGAIN, key_of, packed, unpacked
from datamodules.shard_ids import ids_of, write_ids
from earshot.atomic import atomic_path, write_text
from earshot.errors import InputError

INDEX = "index.json"
SMALLEST = 1024  # bytes of a sample in a tar: a header, and a block for its JSON


@dataclass(frozen=True)
class Shard:
    """A tar and the samples of it that are read.

    Attributes:
        path: of the tar.
        in_tar: how many samples the index promises.
        kept: numbers of those that are read, ascending; None reads all.
        digest: of the samples' JSONs, which has the digests of their media; None in splits of older versions.
    """

    path: Path
    in_tar: int
    kept: tuple[int, ...] | None = None
    digest: str | None = None

    @property
    def num_samples(self) -> int:
        """How many samples are read."""
        return self.in_tar if self.kept is None else len(self.kept)


@dataclass
class Sample:
    """An undecoded sample: its JSON, and the media that were asked for, by extension."""

    shard: Path
    key: str
    record: dict[str, Any]
    media: dict[str, bytes] = field(default_factory=dict)


def read_index(folder: Path, skip_missing: bool = False) -> list[Shard]:
    """The shards of a split, in order.

    Args:
        folder: of the split.
        skip_missing: shards that are not there are told when they are read, unless they have more than a tenth.

    Raises:
        InputError: no index, or one that cannot be read, is empty, or names a tar twice, without samples, or missing.
    """
    path = folder / INDEX
    if not exists(path):
        found = f"no {INDEX}" if folder.exists() else "no such folder"
        raise InputError(
            f"expected packed shards in {folder}, found {found}; correct the root or the split's name, or "
            "pack one: python -m datamodules.prepare --help"
        )
    try:
        index = json.loads(read(path))
        shards = [_shard(folder, **one) for one in index["shardlist"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected a wids index in {path}, found {error!r}; pack the split again") from None
    if not shards:
        raise InputError(f"expected clips in {folder}, found an empty index; pack the split again")
    names = Counter(shard.path.name for shard in shards)
    missing: list[LeftOut] = []
    for shard in shards:
        if shard.num_samples < 1 or names[shard.path.name] > 1:
            found = f"{shard.num_samples} of them" if shard.num_samples < 1 else "it twice"
            raise InputError(f"expected {shard.path.name} once, with samples, in {path}, found {found}; {AGAIN}")
        if not exists(shard.path):
            said = f"expected the shard {shard.path}, found no such file; copy or pack the split again"
            if not skip_missing or shard.path.exists():
                raise InputError(said)
            missing.append(LeftOut(said, shard.in_tar, shard=True))
            continue
        if (size := size_of(shard.path)) is not None and size < SMALLEST * shard.in_tar:
            raise InputError(f"expected {shard.in_tar} samples in {shard.path}, found {size} bytes; {AGAIN}")
    if (total := sum(shard.in_tar for shard in shards)) != index.get("num_samples", total):
        raise InputError(f"expected {index['num_samples']} samples in {path}, found {total}; {AGAIN}")
    require_few(missing, total)
    return shards


def _shard(folder: Path, url: object, nsamples: object, digest: object = None, **others: object) -> Shard:
    """An entry of an index, whose tar is in `folder` or below."""
    if not isinstance(url, str) or Path(url).is_absolute() or ".." in Path(url).parts:
        raise ValueError(f"the url {url!r}")
    if type(nsamples) is not int or not isinstance(digest, str | None):
        raise ValueError(f"nsamples {nsamples!r} and digest {digest!r} of {url}")
    return Shard(place(url, folder), nsamples, None, digest)


def index_digest(shards: list[Shard]) -> str:
    """A short digest of the shards' names, contents (sizes, without a digest) and kept samples, in whatever folder."""
    text = "".join(f"{s.path.name} {s.in_tar}{s.digest or size_of(s.path) or ''}{s.kept or ''}\n" for s in shards)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_shards(
    folder: Path,
    samples: Iterable[tuple[str, dict[str, bytes], dict[str, Any]]],
    samples_per_shard: int = 500,
) -> list[Shard]:
    """Pack samples into `folder`: 000000.tar ... and, last, the index; the same samples give the same bytes.

    A killed writer leaves no index, without which the folder is not read as a split.

    Args:
        folder: made where missing.
        samples: clip id, media by extension, and the JSON's other content (`captions`, `labels`, anything).
        samples_per_shard: the last shard may have fewer.

    Raises:
        InputError: no sample, or an id twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    shards: list[Shard] = []
    seen: set[str] = set()
    iterator = iter(samples)

    def unseen(clip_id: str) -> str:
        if clip_id in seen:
            raise InputError(f"expected every clip once, found the id {clip_id!r} twice; rename one of them")
        seen.add(clip_id)
        return clip_id

    for first in iterator:
        some = chain([first], islice(iterator, samples_per_shard - 1))
        path = folder / f"{len(shards):06d}.tar"
        shards.append(write_shard(path, ((unseen(clip_id), media, record) for clip_id, media, record in some)))
    if not shards:
        raise InputError(f"expected at least one clip to pack into {folder}, found none; pack other files")
    write_index(folder, shards)
    return shards


def write_shard(path: Path, samples: Iterable[tuple[str, dict[str, bytes], dict[str, Any]]]) -> Shard:
    """Write one tar of samples as `write_shards` takes them, and their ids beside it; ids are not compared."""
    ids: list[str] = []
    digest = hashlib.sha256()
    with atomic_path(path) as partial, tarfile.TarFile(partial, "w", copybufsize=2**20) as tar:
        for clip_id, media, record in samples:
            if clip_id.startswith("/") or ".." in clip_id.split("/"):
                raise InputError(f"expected ids that are paths within a folder, found {clip_id!r}; rename the clip")
            content = packed(path.name, len(ids), clip_id, media, record)
            digest.update(content)
            for extension, data in {"json": content, **media}.items():
                member = tarfile.TarInfo(f"{key_of(clip_id)}.{extension}")  # owner and time stay zero
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            ids.append(clip_id)
    shard = Shard(path, len(ids), None, digest.hexdigest()[:16])
    write_ids(path, ids, str(shard.digest))
    return shard


def write_index(folder: Path, shards: Iterable[Shard]) -> None:
    """Write the index, with which `folder` becomes a split that can be read."""
    shards = list(shards)
    entries = [{"url": shard.path.name, "nsamples": shard.num_samples, "digest": shard.digest} for shard in shards]
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "num_samples": sum(shard.num_samples for shard in shards),
        "shardlist": entries,
    }
    write_text(folder / INDEX, json.dumps(index, indent=1))


def records(shards: Iterable[Shard], skip_missing: bool = False) -> Iterator[dict[str, Any]]:
    """The JSON records of all samples, in order, perhaps without those of missing shards; no medium is kept."""
    for shard in shards:
        with suppress(*[MissingShard] * skip_missing):
            for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
                yield sample.record


def sample_ids(shard: Shard) -> list[str]:
    """The ids of all samples in a tar: from the file beside it, or from the tar, whose media are skipped.

    Raises:
        MissingShard: there is neither.
        InputError: the tar cannot be read, or holds other than the promised number of samples.
    """
    try:
        if len(ids := ids_of(shard.path, shard.digest)) == shard.in_tar:
            return ids
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        nothing = isinstance(error, OSError if isinstance(shard.path, UrlPath) else FileNotFoundError)
        kind = MissingShard if nothing else InputError
        raise kind(f"expected a readable shard {shard.path}, found {error!r}; {AGAIN}") from error
    raise InputError(f"expected {shard.in_tar} ids of samples in {shard.path}, found {len(ids)}; {AGAIN}")


def read_samples(
    shard: Shard, start: int, stop: int, wanted: Callable[[dict[str, Any]], Collection[str]]
) -> Iterator[Sample]:
    """Samples `start` to `stop` - 1 of those a shard keeps; `wanted` gets each JSON and returns what to read.

    Other media are skipped and not checked.

    Raises:
        MissingShard: there is no such file or URL.
        InputError: the tar cannot be read, holds other than the promised number of samples, misses a wanted
            medium, or a medium fails its CRC-32; a JSON is not the one that was packed at its place, or, where the
            tar is read to its end, all of them are not those of the index.
    """
    kept = range(shard.in_tar) if shard.kept is None else shard.kept
    places = kept[start:stop]
    chosen = places if isinstance(places, range) else frozenset(places)
    end = kept[stop] if stop < len(kept) else shard.in_tar  # the first that is not needed
    number = -1
    digest = hashlib.sha256()
    sample: Sample | None = None
    extensions: set[str] = set()

    def select(name: str) -> bool:
        # webdataset's iterator is lazy: it asks for a member's name only after the JSON before it was handled
        extension = name.partition(".")[2]
        return extension == "json" or (sample is not None and extension in extensions)

    def finished(sample: Sample) -> Sample:
        if missing := extensions - sample.media.keys():
            raise InputError(f"expected {sample.key}.{min(missing)} in {shard.path}, found no such member; {AGAIN}")
        return sample

    file: ToItsEnd | None = None
    try:
        with opened(shard.path) as stream:
            file = ToItsEnd(stream)
            for member in tar_file_iterator(file, skip_meta=None, select_files=select):  # ids may be of a folder __x__
                key, _, extension = member["fname"].partition(".")
                data: bytes = member["data"]
                if extension == "json":
                    if sample is not None:
                        yield finished(sample)
                        sample = None
                    number += 1
                    if number >= shard.in_tar:
                        raise InputError(f"expected {shard.in_tar} samples in {shard.path}, found more; {AGAIN}")
                    if number >= end:
                        return
                    digest.update(data)
                    if number in chosen:
                        sample = Sample(
                            shard.path, key, unpacked(data, shard.path, number, key, shard.digest is not None)
                        )
                        extensions = set(wanted(sample.record))
                elif sample is not None:
                    if key != sample.key:
                        raise InputError(
                            f"expected the JSON of {key} before its media in {shard.path}, found "
                            f"{member['fname']}; pack the split with datamodules.shards.write_shards"
                        )
                    if zlib.crc32(data) != sample.record["crc32"][extension]:
                        raise InputError(
                            f"expected the CRC-32 of {member['fname']} in {shard.path}, found other; {AGAIN}"
                        )
                    sample.media[extension] = data
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        reason = str(error).partition(" @ ")[0]  # where webdataset names the open file
        nothing = isinstance(shard.path, UrlPath) and (file is None or not file.began)
        kind = MissingShard if nothing or isinstance(error, FileNotFoundError) else InputError
        raise kind(f"expected a readable shard {shard.path}, found: {reason}; {AGAIN}") from error
    if sample is not None:
        yield finished(sample)
    if number + 1 < shard.in_tar:
        raise InputError(f"expected {shard.in_tar} samples in {shard.path}, found {number + 1}; {AGAIN}")
    if shard.digest and shard.digest != digest.hexdigest()[:16]:
        raise InputError(f"expected the samples of the index in {shard.path}, found others; {AGAIN}")
