"""From what a table lists to the files on disk: which file holds which clip, and what has none."""

import os
import re
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datamodules.endings import AUDIO, IMAGES, VIDEO, composed
from datamodules.folder_files import folder_files
from earshot.errors import InputError

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
TIMED = re.compile(r"(.+)_(\d+(?:\.\d+)?)")  # <stem>_<time>; applied twice it takes <stem>_<start>_<end> apart


@dataclass(frozen=True, slots=True)
class Segment:
    """A clip as a table lists it.

    Attributes:
        clip_id: in the shards.
        names: that its file may have, without ending.
        start: of the clip in its recording, in seconds; None where the table does not say.
        seconds: of the clip; None where the whole file is the clip.
        captions: none for AudioSet.
        labels: AudioSet's class names.
        folder: of several files of one name, that in a folder so called is meant, or in `<folder>_flac` and the like.
    """

    clip_id: str
    names: tuple[str, ...]
    start: float | None = None
    seconds: float | None = None
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    folder: str = ""

    def is_in(self, ids: Container[str]) -> bool:
        """Whether a list names it, by its id or by a name of its file."""
        return self.clip_id in ids or any(name in ids for name in self.names)


class Row(NamedTuple):
    """A line of the report: what became of a clip or file, and why."""

    clip_id: str
    file: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Clip:
    """A segment and its file, by paths in the media folder; `cut` says that the file begins at the segment's start."""

    segment: Segment
    file: str
    image: str = ""
    cut: bool = False


def youtube_names(youtube_id: str) -> tuple[str, ...]:
    """The names of a YouTube clip's file: the id, alone or after a Y, as WavCaps' copies have it."""
    return (youtube_id, f"Y{youtube_id}")


@dataclass
class MediaFolder:
    """The media of a folder and its subfolders, by name.

    A file of a YouTube clip is called `<id>` or `Y<id>`, and may go on with `_<start>` or `_<start>_<end>`, in seconds
    (30, 30.000, 000030) or milliseconds (30000). The times must be the table's; a file that has them is already cut.
    Of several files of one clip those with times come first, then videos, then the order of the paths. Names are
    compared in Unicode's composed form, since macOS stores the other one.
    """

    folder: Path
    files: list[str] = field(default_factory=list)  # audio and video
    images: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(
                f"expected a folder of audio files or videos in {self.folder}, found none; correct --input"
            )
        self.by_name: dict[str, list[str]] = defaultdict(list)
        self.by_timed_name: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        self.images_by_name: dict[str, list[str]] = defaultdict(list)
        self.unknown_names: dict[str, str] = {}
        for path in folder_files(self.folder):
            if (readable := path.encode(errors="replace").decode()) != path:  # a table could not be written
                self.unknown.append(readable)
                continue
            stem, ending = os.path.splitext(composed(PurePosixPath(path).name))
            kind = ending.lower()
            if kind in AUDIO | VIDEO:
                self.files.append(path)
                self.by_name[stem].append(path)
                self._note_times(path, stem)
            elif kind in IMAGES:
                self.images.append(path)
                self.images_by_name[stem].append(path)
            else:
                self.unknown.append(path)
                self.unknown_names.setdefault(stem, path)
                self.unknown_names.setdefault(os.path.splitext(stem)[0], path)  # <id>.mp4.part
        if not self.files:
            endings = " ".join(sorted(AUDIO | VIDEO))
            raise InputError(
                f"expected audio files or videos ({endings}) in {self.folder}, found none; correct --input"
            )

    def _note_times(self, path: str, stem: str) -> None:
        times: tuple[str, ...] = ()
        while len(times) < 2 and (found := TIMED.fullmatch(stem)):
            stem, times = found[1], (found[2], *times)
            self.by_timed_name[stem].append((path, times))

    def find(self, segment: Segment) -> tuple[Clip | None, list[Row]]:
        """The segment's file, and rows on what was passed over; without a file, the row says why."""
        found: list[tuple[bool, bool, bool, str]] = []
        other_times: list[str] = []
        for name in map(composed, segment.names):
            found += [(True, *self._rank(path, segment)) for path in self.by_name.get(name, ())]
            for path, times in self.by_timed_name.get(name, ()) if segment.seconds is not None else ():
                if _agree(times, segment):
                    found.append((False, *self._rank(path, segment)))
                else:
                    other_times.append(path)
        if found:
            whole, *_, file = min(found)
            rows = [Row(segment.clip_id, path, "same clip", f"as {file}") for *_, path in sorted(found) if path != file]
            return Clip(segment, file, self.image_of(file), cut=not whole), rows
        for name in map(composed, segment.names):
            if path := self.unknown_names.get(name, ""):
                return None, [Row(segment.clip_id, path, "unknown kind", "neither audio nor video by its ending")]
        detail = f"{other_times[0]} has other times" if other_times else ""
        return None, [Row(segment.clip_id, "", "missing", detail)]

    def _rank(self, path: str, segment: Segment) -> tuple[bool, bool, str]:
        """Smaller is better: in the wanted folder, a video, and the path itself."""
        elsewhere = not any(f"{part}_".startswith(f"{segment.folder}_") for part in PurePosixPath(path).parts)
        return bool(segment.folder) and elsewhere, not is_video(path), path

    def image_of(self, file: str) -> str:
        """The image that goes with an audio file: of the same name, in the same folder or else the first one."""
        if is_video(file):
            return ""
        images = self.images_by_name.get(composed(PurePosixPath(file).stem), [])
        beside = [image for image in images if PurePosixPath(image).parent == PurePosixPath(file).parent]
        return next(iter(beside or images), "")


def match(segments: Sequence[Segment], media: MediaFolder) -> tuple[list[Clip], list[Row]]:
    """The clips that have a file, in the order of the table, and a row on each segment or file that was passed over."""
    clips: list[Clip] = []
    rows: list[Row] = []
    for segment in segments:
        clip, passed_over = media.find(segment)
        clips += [clip] if clip else []
        rows += passed_over
    return clips, rows


def is_video(path: str) -> bool:
    """Whether a file is a video by its ending."""
    return os.path.splitext(path)[1].lower() in VIDEO


def _agree(times: tuple[str, ...], segment: Segment) -> bool:
    """Whether the times of a file's name are the segment's, in seconds or in milliseconds."""
    if segment.start is None or segment.seconds is None:
        return True
    meant = (segment.start, segment.start + segment.seconds)
    in_seconds = all(abs(float(time) - value) < 0.0015 for time, value in zip(times, meant))
    in_ms = all(time.isdecimal() and abs(int(time) - 1000 * value) < 1.5 for time, value in zip(times, meant))
    return in_seconds or in_ms
