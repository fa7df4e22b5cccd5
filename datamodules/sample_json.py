"""The JSON of a sample in a shard, with a checksum of itself and of its place."""

import json
import zlib
from pathlib import Path
from typing import Any

from earshot.errors import InputError

CHECKSUM = b', "checksum": '
AGAIN = "the file is damaged, or the index belongs to other files: copy it again, or delete it and pack the split again"


def packed(name: str, number: int, clip_id: str, media: dict[str, bytes], record: dict[str, Any]) -> bytes:
    """The JSON of a sample: number `number` of the tar of that name."""
    crc32 = {extension: zlib.crc32(data) for extension, data in media.items()}
    content = {"id": clip_id, "captions": [], "labels": [], **record, "crc32": crc32}
    body = json.dumps(content, ensure_ascii=False).encode()[:-1]
    return body + CHECKSUM + b"%d}" % _checksum(body, name, number)


def _checksum(body: bytes, name: str, number: int) -> int:
    return zlib.crc32(body, zlib.crc32(f"{name} {number}".encode()))


def key_of(clip_id: str) -> str:
    """The name of a sample's members, up to its first dot."""
    return clip_id.replace(".", "%2E")


def unpacked(data: bytes, tar: Path, number: int, key: str, checked: bool) -> dict[str, Any]:
    """The JSON of a sample, which must be the one that was packed at its place.

    Args:
        data: as it is in the tar.
        tar: its path.
        number: of the sample in it.
        key: of the sample.
        checked: False for splits of older versions, which have no checksum.

    Raises:
        InputError: it is not.
    """
    record: dict[str, Any] = {"captions": [], "labels": [], **json.loads(data)}
    for name, kind in (("id", str), ("crc32", dict), ("captions", list), ("labels", list)):
        texts = record[name] if kind is list else []
        if not isinstance(record[name], kind) or not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"expected {name} as packed in {key}.json in {tar}, found {repr(record[name])[:200]}; {AGAIN}"
            )
    body = data.rpartition(CHECKSUM)[0]
    if checked and record.pop("checksum", None) != _checksum(body, tar.name, number):
        raise InputError(
            f"expected the JSON that was packed as number {number} of {tar}, found another, of {key}; {AGAIN}"
        )
    if key_of(record["id"]) != key:
        raise InputError(f"expected the id of {key}.json in {tar} in it, found {record['id']!r}; {AGAIN}")
    return record
