"""What a run left for W&B, out of its offline file: W&B's own messages in the framing of LevelDB's log."""

import json
import zlib
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32 * 1024, 7  # of the framing; the file's own header is as long as a record's
WHOLE, LAST = 1, 4  # kinds of a record's parts


def records(folder: Path) -> list[Record]:
    """What the newest offline file of a run folder holds, its checksums right.

    W&B 0.31 reads such files in its Go service alone.
    """
    wandb.teardown()  # waits for W&B's service to write: offline, finish does not
    path = max(folder.glob("wandb/offline-run-*/*.wandb"))
    data, found, record, at = path.read_bytes(), [], b"", HEADER
    assert data.startswith(b":W&B")
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # padding at the end of a block
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part = data[at + HEADER : at + HEADER + length]
        assert zlib.crc32(bytes([kind]) + part) == int.from_bytes(data[at : at + 4], "little")
        record += part
        at += HEADER + length
        if kind in (WHOLE, LAST):
            found.append(Record.FromString(record))
            record = b""
    return found


def of_kind(folder: Path, kind: str) -> list[Any]:
    """The messages of a kind, such as "artifact"."""
    return [getattr(record, kind) for record in records(folder) if record.HasField(kind)]


def history(folder: Path) -> list[dict[str, str]]:
    """The rows that were logged, each value as JSON."""
    return [
        {".".join(item.nested_key) or item.key: item.value_json for item in row.item}
        for row in of_kind(folder, "history")
    ]


def config(folder: Path) -> dict[str, Any]:
    """The configuration, as it was at the end."""
    return {item.key: json.loads(item.value_json) for each in of_kind(folder, "config") for item in each.update}
