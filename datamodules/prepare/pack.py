"""Clips into shards by all cores: resumed after a kill, split among jobs, with a report on every clip and file.

What is to be packed is a plan, the ordered list of clips that have a file. Shard k holds the clips k * S to
(k + 1) * S - 1 of it, less those left out, so that its bytes depend on nothing else. Each shard is written whole, then
a note beside it, `000000.report.json`; what is as its note says is not packed again, unless a decoder crashed. Whoever
writes the last note writes the index and the report, with which the split is complete.
"""

import csv
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datamodules.places import size_of
from datamodules.prepare.encode import Encoded, Encoding, Source, encode
from datamodules.prepare.segments import Clip, Row
from datamodules.prepare.workers import CRASHED, Died, in_order
from datamodules.shard_ids import ids_beside
from datamodules.shards import Shard, write_index, write_shard
from earshot.atomic import write_text
from earshot.errors import InputError

PLAN, REPORT = "plan.json", "report.csv"


@dataclass(frozen=True)
class Plan:
    """What is to be packed.

    Attributes:
        media: folder of the clips' files.
        clips: in their order.
        passed_over: rows on what has no clip.
        encoding: how clips are stored.
        samples_per_shard: clips of a shard, those left out among them.
    """

    media: Path
    clips: list[Clip]
    passed_over: list[Row]
    encoding: Encoding
    samples_per_shard: int

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise InputError(f"expected --samples-per-shard of at least 1, found {self.samples_per_shard}; correct it")
        ids = Counter(clip.segment.clip_id for clip in self.clips)
        if twice := next((clip_id for clip_id, count in ids.items() if count > 1), None):
            raise InputError(f"expected every clip once, found the id {twice!r} twice; remove one of them")

    @property
    def num_shards(self) -> int:
        """Shards, those without a clip in the end among them."""
        return -(-len(self.clips) // self.samples_per_shard)

    def shard(self, number: int) -> list[Clip]:
        """The clips of a shard."""
        return self.clips[number * self.samples_per_shard : (number + 1) * self.samples_per_shard]

    def settings(self) -> dict[str, Any]:
        """What decides the shards' bytes."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(repr(clip).encode())
        return asdict(self.encoding) | {
            "samples_per_shard": self.samples_per_shard, "clips": len(self.clips), "digest": digest.hexdigest()
        }  # fmt: skip

    def source(self, clip: Clip) -> Source:
        """Where a worker finds a clip."""
        image = self.media / clip.image if clip.image else None
        return Source(self.media / clip.file, image, clip.segment.start, clip.segment.seconds, clip.cut)


def pack(plan: Plan, output: Path, workers: int, part: tuple[int, int] = (1, 1)) -> list[Row] | None:
    """Pack the shards of a part, but those that are there, and write the index and report once all shards are there.

    A shard whose tar is gone or has another size than was noted is not there; one at which a decoder crashed, as for
    lack of memory, is packed again.

    Args:
        plan: what is packed.
        output: folder of the split.
        workers: processes.
        part: (i, n) packs every n-th shard, from the i-th on.

    Returns:
        The rows of the report; None while shards of other parts are missing.

    Raises:
        InputError: `output` holds something else, or no clip could be packed.
    """
    _claim(output, plan.settings())
    numbers = range(part[0] - 1, plan.num_shards, part[1])
    notes = ((number, _noted(output, number)) for number in numbers)
    todo = [
        number
        for number, note in notes
        if note is None or any(Row(*row).detail.startswith(CRASHED) for row in note["rows"])
    ]
    total = sum(len(plan.shard(number)) for number in numbers)
    clips = chain.from_iterable(map(plan.shard, todo))
    results = in_order(_encode, ((plan.source(clip), plan.encoding) for clip in clips), workers if todo else 0)
    done = total - sum(len(plan.shard(number)) for number in todo)
    with tqdm(desc="packing", unit="clip", total=total, initial=done, file=sys.stderr, smoothing=0.05) as bar:
        for number in todo:
            rows: list[Row] = []
            path = _tar(output, number)
            shard = write_shard(path, _samples(plan.shard(number), results, rows, bar))
            if not shard.num_samples:
                path.unlink()
                ids_beside(path).unlink()
            note = {"samples": shard.num_samples, "digest": shard.digest, "size": size_of(path), "rows": rows}
            write_text(_note(output, number), json.dumps(note))
    return _finish(plan, output)


def _encode(job: tuple[Source, Encoding]) -> Encoded:
    return encode(*job)


def _samples(
    clips: list[Clip], results: Iterator[tuple[Any, Encoded | Died]], rows: list[Row], bar: Any
) -> Iterator[tuple[str, dict[str, bytes], dict[str, Any]]]:
    """The clips of a shard as `write_shard` takes them, with a row on each."""
    for clip in clips:
        _, encoded = next(results)
        if isinstance(encoded, Died):
            encoded = Encoded(reason="broken", detail=f"{encoded}; the same command tries it again")
        segment = clip.segment
        rows.append(Row(segment.clip_id, clip.file, encoded.reason, encoded.detail))
        if encoded.media:
            record = {"captions": list(segment.captions), "labels": list(segment.labels)}
            yield segment.clip_id, encoded.media, record
        bar.update()


def _tar(output: Path, number: int) -> Path:
    return output / f"{number:06d}.tar"


def _note(output: Path, number: int) -> Path:
    return output / f"{number:06d}.report.json"


def _noted(output: Path, number: int) -> dict[str, Any] | None:
    """What the note of a shard says; None where there is none, it is damaged, or the tar is not as it says."""
    try:
        note: dict[str, Any] = json.loads(_note(output, number).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    size = size_of(_tar(output, number))
    there = not note["samples"] or (size is not None and size == note.get("size", size))  # older notes have no size
    return note if there else None


def _claim(output: Path, settings: dict[str, Any]) -> None:
    """Note what the folder will hold, or compare with what it holds."""
    path = output / PLAN
    files = [file for file in output.iterdir() if not file.name.startswith(".")] if output.exists() else []
    if path.exists():  # asked after the listing: another part may begin at the same time
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                f"expected what is packed in {output} in {path}, found {error!r}; delete {output} or give another "
                "--output"
            ) from None
        if different := [name for name in settings if found.get(name) != settings[name]]:
            what = ", ".join(name.replace("_", "-") for name in different if name not in ("clips", "digest"))
            raise InputError(
                f"expected {output} to be of the same {what or 'clips and files'} as this command, found others; "
                "delete it or give another --output"
            )
    elif files:
        raise InputError(f"expected {output} to be empty or missing, found files; delete it or give another --output")
    else:
        write_text(path, json.dumps(settings, indent=1))


def _finish(plan: Plan, output: Path) -> list[Row] | None:
    """Write the index and the report, if all shards are there."""
    shards, rows = [], []
    for number in range(plan.num_shards):
        if (note := _noted(output, number)) is None:
            return None
        rows += [Row(*row) for row in note["rows"]]
        if note["samples"]:
            shards.append(Shard(_tar(output, number), note["samples"], None, note["digest"]))
    rows += plan.passed_over
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    write_text(output / REPORT, table.getvalue())
    if not shards:
        row = rows[0]
        raise InputError(
            f"expected at least one clip that can be packed, found none of {len(plan.clips)}: {row.file}: "
            f"{row.reason}, {row.detail}; see {output / REPORT}"
        )
    write_index(output, shards)
    return rows
