"""The commands that pack: from their options to shards and a summary."""

import argparse
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from datamodules.caption_table import read_captions
from datamodules.endings import ENDING
from datamodules.id_list import clips_meant, clips_touched, read_ids
from datamodules.prepare import corpora
from datamodules.prepare.encode import Encoding
from datamodules.prepare.folder import folder_clips
from datamodules.prepare.pack import REPORT, Plan, pack
from datamodules.prepare.segments import Clip, MediaFolder, Row, Segment, match
from earshot.errors import InputError

NAMED = 20  # at most this many clips and files are named on the terminal


def run(options: argparse.Namespace) -> None:
    """Pack a folder or a corpus, and print what was packed and what was not."""
    if options.command == "audioset" and options.exclude is None and not options.no_exclude:
        raise InputError(
            "expected AudioCaps' tables for validation and test, whose clips are AudioSet's and must not be trained "
            "on, found no --exclude; give --exclude val.csv test.csv, or --no-exclude to keep them"
        )
    ids = options.ids and {ENDING.sub("", name) for name in read_ids(options.ids)}
    exclude = {path: read_ids(path) for path in options.exclude or ()}
    if options.command == "folder":
        media = MediaFolder(options.input)
        clips, rows = folder_clips(media, read_captions(options.captions) if options.captions else {})
        chosen, more = choose([clip.segment for clip in clips], ids, exclude)
        wanted = set(chosen)
        clips = [clip for clip in clips if clip.segment in wanted]
        counts = ""
    else:
        segments, rows = choose(_segments(options), ids, exclude)
        media = MediaFolder(options.input)
        clips, more = match(segments, media)
        tables = ", ".join(path.name for path in options.table)
        counts = f"found {len(clips):,} of the {len(segments):,} clips in {tables}"
        if exclude:
            counts += f", besides {sum(row.reason == 'excluded' for row in rows):,} left out by --exclude"
        _require_found(clips, segments, media, tables)
        used = {path for clip in clips for path in (clip.file, clip.image)} | {row.file for row in more}
        if others := [path for path in (*media.files, *media.unknown) if path not in used]:
            counts += f"; {len(others):,} other files are in the folder, such as {others[0]}"
    rows += more
    longest = 1.0 if options.max_seconds is None else options.max_seconds
    if not (options.image_size >= 0 and options.min_seconds >= 0 and longest > 0):
        raise InputError(
            "expected an --image-size and --min-seconds of at least 0 and a --max-seconds above 0, found "
            f"{options.image_size}, {options.min_seconds:g} and {longest:g}; correct them"
        )
    encoding = Encoding(
        options.format, options.sampling_rate, options.mono, options.image_size or None, options.min_seconds,
        options.max_seconds, options.require_images,
    )  # fmt: skip
    plan = Plan(options.input, clips, rows, encoding, options.samples_per_shard)
    report = pack(plan, options.output, options.workers or _cores(), options.part)
    if counts:
        print(counts)
    if report is None:
        print(
            f"packed part {options.part[0]} of {options.part[1]} into {options.output}; the index is written by the "
            "last part to end, or by the same command without --part"
        )
    else:
        _print(report, plan, options.output)


def _segments(options: argparse.Namespace) -> list[Segment]:
    if options.command == "audioset":
        return corpora.audioset(options.table, options.classes)
    return {"audiocaps": corpora.audiocaps, "clotho": corpora.clotho, "wavcaps": corpora.wavcaps}[options.command](
        options.table
    )


def choose(
    segments: Sequence[Segment], ids: set[str] | None, exclude: Mapping[Path, Sequence[str]]
) -> tuple[list[Segment], list[Row]]:
    """The segments that the list `ids` names, if there is one, and none of `exclude` does, with rows on the lists.

    A list of `exclude` leaves out all clips that it may mean; one that leaves out none is printed.

    Raises:
        InputError: that is none.
    """
    rows: list[Row] = []
    kept: list[Segment] = []
    if ids is not None:
        named, absent = _named(segments, ids)
        rows += [Row(name, "", "not in the table", "named by --ids") for name in sorted(absent)]
        segments = [segment for segment in segments if segment.clip_id in named]
    left_out = _left_out(segments, exclude) if exclude else set()
    for segment in segments:
        if segment.clip_id in left_out:
            rows.append(Row(segment.clip_id, "", "excluded", "its id, file or video is in --exclude"))
        else:
            kept.append(segment)
    if not kept:
        raise InputError("expected clips that --ids names and --exclude does not, found none; correct the lists")
    return kept, rows


def _named(segments: Sequence[Segment], ids: set[str]) -> tuple[set[str], set[str]]:
    """The clips that a list names, as `--data.ids` reads it or by a name of their files, and its ids that name none."""
    names = {name for segment in segments for name in (segment.clip_id, *segment.names)}
    meant = clips_meant(ids, (segment.clip_id for segment in segments))
    named = {segment.clip_id for segment in segments if segment.is_in(ids)} | set(meant.values())
    return named, ids - names - meant.keys()


def _left_out(segments: Sequence[Segment], exclude: Mapping[Path, Sequence[str]]) -> set[str]:
    """The clips of which a list has the id, the file or the video; what leaves out none is printed."""
    names = {s.clip_id: {s.clip_id, *s.names, PurePosixPath(s.clip_id).name} for s in segments}
    found: set[str] = set()
    for path, listed in exclude.items():
        if not (touched := clips_touched(listed, names)):
            print(f"{path}: --exclude leaves out no clip by its {len(listed):,} ids, such as {listed[0]!r}")
        found |= touched
    return found


def _require_found(clips: list[Clip], segments: Sequence[Segment], media: MediaFolder, tables: str) -> None:
    if not clips:
        raise InputError(
            f"expected files in {media.folder} that are called as the clips in {tables}, such as "
            f"{segments[0].names[0]!r}, found none of {len(segments):,}, but files such as {media.files[0]!r}; correct "
            "--input or --table"
        )


def _cores() -> int:
    """Those that this process may use, as on a cluster it may not use all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print(report: list[Row], plan: Plan, output: Path) -> None:
    """What was packed, counted; what was not, counted by reason, some of it named."""
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for row in report:
        rows_of[row.reason].append(row)
    bare, full = rows_of.pop("packed without images", []), rows_of.pop("packed", [])
    with_captions = {clip.segment.clip_id for clip in plan.clips if clip.segment.captions}
    captions = sum(row.clip_id in with_captions for row in (*bare, *full))
    print(
        f"packed {len(bare) + len(full):,} clips, {len(full):,} with images and {captions:,} with captions, into "
        f"{output}"
    )
    counts = Counter({reason: len(rows) for reason, rows in rows_of.items()})
    if counts:
        print(
            f"left out {counts.total():,}: {', '.join(f'{count:,} {reason}' for reason, count in counts.most_common())}"
        )
    named = [row for reason, _ in counts.most_common() for row in rows_of[reason]]
    for row in named[:NAMED]:
        print("  " + ": ".join(filter(None, (row.file or row.clip_id, row.reason, row.detail))))
    if len(named) > NAMED:
        print(f"  ... and {len(named) - NAMED:,} more")
    print(f"every clip, and what became of it: {output / REPORT}")
