"""Clips straight from media files, without packing them first."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

import numpy as np

from datamodules.clip_reader import Clip, decode_image, square
from datamodules.clips import AudioFormat, ClipFormat
from datamodules.endings import AUDIO, IMAGES, VIDEO
from datamodules.folder_files import folder_files
from datamodules.media import NUM_FRAMES, Audio, MediaError, audio_windows, read_audio, read_frames
from datamodules.pictures import PICTURE_ERRORS
from datamodules.waveform import int16_at
from earshot.errors import InputError

LONGEST = 60.0  # seconds of a file that an encoder of any length gets, as an hour would fill the memory


@dataclass(frozen=True)
class Part:
    """A part of a media file, decoded.

    Attributes:
        clip: its id is the file's name.
        start: where it begins, in seconds; 0 of an image.
        end: where it ends, in seconds; 0 of an image.
        cut: whether the file goes on after the only part that is read of it.
    """

    clip: Clip
    start: float
    end: float
    cut: bool = False


@dataclass(frozen=True)
class Unusable:
    """A part of a media file that has no clip, and why; times as of `Part`."""

    start: float
    end: float
    error: MediaError


def list_media(paths: Sequence[Path]) -> tuple[dict[str, Path], Counter[str]]:
    """Media files by name, and how many others the folders hold, by their ending.

    A file is named as it was given, a file of a folder and its subfolders by its path in that folder; what a name has
    beyond Unicode becomes a question mark. Hidden files and folders are passed over. An image counts as a file of its
    own only where it is given by name.

    Raises:
        InputError: no such file or folder, or no media in any of them.
    """
    found: dict[str, Path] = {}
    others: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            for name in folder_files(path):
                file = path / name
                if file.suffix.lower() in AUDIO | VIDEO:
                    _add(found, name, file)
                elif file.suffix.lower() not in IMAGES:
                    others[file.suffix.lower() or "no ending"] += 1
        elif path.is_file():
            _add(found, str(path), path)
        else:
            raise InputError(f"expected a media file or a folder of them, found no {path}; correct the path")
    if not found:
        endings = " ".join(sorted(AUDIO | VIDEO))
        raise InputError(f"expected media files ({endings}) in {', '.join(map(str, paths))}, found none; name others")
    return found, others


def _add(found: dict[str, Path], name: str, file: Path) -> None:
    """Name a file so that tables and terminals can hold the name, and no other file has it."""
    for unlike in chain((name, str(file)), (f"{file} ({number})" for number in count(2))):
        readable = unlike.encode(errors="replace").decode()
        if found.setdefault(readable, file) == file:
            return


def other_kinds(others: Counter[str]) -> str:
    """A line on the files that `list_media` leaves out."""
    kinds = ", ".join(f"{number} {ending}" for ending, number in sorted(others.items()))
    return f"left out files of other kinds: {kinds}"


def media_digest(files: dict[str, Path]) -> str:
    """A short digest of the files' names and sizes."""
    sizes = {name: path.stat().st_size if path.exists() else None for name, path in files.items()}
    text = "".join(f"{name}\0{size}\0" for name, size in sizes.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_beginning(name: str, path: Path, clip_format: ClipFormat) -> Part:
    """The beginning of a file, as long as a stage takes its clips; one minute where the stage sets no limit.

    Args:
        name: the id of the clip.
        path: a media file; an image where only images are wanted. Beside an audio file, the image of the same name is
            its image.
        clip_format: what is wanted; another model hears no more of the file than the stage.

    Raises:
        MediaError: the file lacks a wanted medium, or cannot be decoded.
    """
    if clip_format.sampling_rate is None:
        return Part(Clip(name, None, _image(path, 0.0, NUM_FRAMES, clip_format), [], []), 0.0, 0.0)
    longest = clip_format.max_seconds or LONGEST
    audio = read_audio(path, seconds=longest + 0.01)  # to see that it goes on
    cut = audio.seconds > longest
    if cut:
        audio = replace(audio, waveform=audio.waveform[: math.ceil(longest * audio.sampling_rate)])
    return replace(_part(name, path, audio, clip_format), cut=cut)


def read_windows(name: str, path: Path, clip_format: ClipFormat, window: float) -> Iterator[Part | Unusable]:
    """Parts of `window` seconds that together cover a file with audio; arguments otherwise as of `read_beginning`.

    A part that is silent or cannot be used otherwise does not end the file. A rest that is shorter than a tenth of a
    window is left out, as codecs add some at the end.

    Raises:
        MediaError: the file has no audio, or cannot be decoded from here on.
    """
    for audio in audio_windows(path, seconds=window):
        if audio.start and audio.seconds < window / 10:
            return
        try:
            yield _part(name, path, audio, clip_format)
        except MediaError as error:
            yield Unusable(audio.start, audio.start + audio.seconds, error)


def _part(name: str, path: Path, audio: Audio, clip_format: ClipFormat) -> Part:
    audio.require_usable()
    waveform, also = (each and as_taken(audio.waveform, audio.sampling_rate, each) for each in clip_format.audio)
    if waveform is None or not len(waveform):
        raise MediaError("too short", f"{len(audio.waveform)} samples at {audio.sampling_rate} Hz")
    image = None
    if clip_format.image_size is not None:
        image = _image(path, audio.start, max(1, math.ceil(audio.seconds)), clip_format)
    return Part(Clip(name, waveform, image, [], [], also), audio.start, audio.start + audio.seconds)


def as_taken(waveform: np.ndarray, sampling_rate: int, audio: AudioFormat) -> np.ndarray:
    """The beginning of a float waveform (T,) as a model takes it: int16 at its rate."""
    if audio.max_seconds is not None:
        waveform = waveform[: math.ceil(audio.max_seconds * sampling_rate)]
    return int16_at(audio.sampling_rate, waveform, sampling_rate)


def _image(path: Path, start: float, count: int, clip_format: ClipFormat) -> np.ndarray | None:
    """The middle one of the first frames of each of `count` seconds, or the still image of an audio file."""
    size = clip_format.image_size
    assert size is not None
    if path.suffix.lower() in VIDEO:
        frames = read_frames(path, start, count, None if clip_format.pad_images else size)
        return square(list(frames.values())[len(frames) // 2].convert("RGB"), size, clip_format.pad_images)
    for beside in (path, *(path.with_suffix(ending) for ending in sorted(IMAGES))):
        if beside.suffix.lower() in IMAGES and beside.is_file():
            try:
                return decode_image(beside.read_bytes(), size, clip_format.pad_images)
            except PICTURE_ERRORS as error:
                raise MediaError("broken", f"{beside.name}: {error}") from error
    raise MediaError("no images", "neither a video nor an image of the same name")
