"""The ids of a tar's samples in a small file beside it, as they are needed without the media."""

import json
import tarfile
import zlib
from pathlib import Path

from datamodules.places import exists, read
from earshot.atomic import write_text

ENDING = ".ids.json"


def ids_beside(tar: Path) -> Path:
    """The file of a tar's ids."""
    return tar.with_suffix(ENDING)


def write_ids(tar: Path, ids: list[str], digest: str) -> None:
    """Write the ids of a tar, with a checksum of them and of the tar's digest."""
    write_text(ids_beside(tar), json.dumps({"ids": ids, "checksum": _checksum(ids, digest)}, ensure_ascii=False))


def ids_of(tar: Path, digest: str | None) -> list[str]:
    """The ids in the file beside a tar, or where there is none, in the tar, whose media are skipped.

    Args:
        tar: its path.
        digest: of the tar in the index; None where an older version packed it, whose files are lists of ids alone.

    Raises:
        ValueError: they are damaged, or those of another tar; also other errors of reading JSON and tars.
    """
    path = ids_beside(tar)
    if not exists(path):
        with tarfile.open(tar, "r:") as opened:
            members = (opened.extractfile(member) for member in opened if member.name.endswith(".json"))
            return [json.load(record)["id"] for record in members if record is not None]
    found = json.loads(read(path))
    if isinstance(found, dict):
        ids: list[str] = found["ids"]
        if digest is not None and found["checksum"] != _checksum(ids, digest):
            raise ValueError(f"other ids in {path.name}")
        return ids
    return list(map(str, found))


def _checksum(ids: list[str], digest: str) -> int:
    return zlib.crc32(json.dumps([digest, *ids]).encode())
