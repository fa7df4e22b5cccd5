"""The one reader of lists of clips, and of what their ids mean: what to pack, what to leave out, what to train on."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datamodules.caption_table import decoded, read_captions
from datamodules.endings import ENDING, composed
from earshot.errors import InputError, command_that_makes

COLUMNS = {"clip_id", "id", "file_name", "youtube_id"}
SEGMENT = re.compile(r"([\w-]{11}), *\d+(?:\.\d+)?, *\d+(?:\.\d+)?, ", re.ASCII)  # a row of AudioSet's lists
QUOTED = re.compile(r'"(?:[^"]|"")*"')  # a line of one cell
VIDEO = re.compile(r"Y?([\w-]{11})((?:_\d+(?:\.\d+)?){0,2})", re.ASCII)  # [Y]<id>[_<start>[_<end>]]


def read_ids(path: Path) -> list[str]:
    """The ids in a file, each once, in order.

    The file is one of:

    - a table with a column clip_id, id, file_name or youtube_id, as `earshot prepare nearest` writes it, with captions
      or without;
    - a text file with an id, or the name of a media file, in each line, quoted or not; empty lines do not count;
    - one of AudioSet's lists of segments, whose ids are called Y<YouTube id>; its lines after a # do not count;
    - a JSON list of ids, or WavCaps' blacklists, a JSON object with a list for each subset, whose ids are called
      `<subset>_<id>` but for AudioSet's.

    Its encoding is one of `datamodules.caption_table`.

    Raises:
        InputError: no such file, another encoding, none of these forms, or no id.
    """
    try:
        text = decoded(path, "ids")
        is_json = path.suffix.lower() == ".json" or text.lstrip().startswith('["')
        content = json.loads(text) if is_json else None
        if isinstance(content, dict):
            content = [
                name if subset == "AudioSet" else f"{subset}_{name}"
                for subset, names in content.items()
                for name in names
            ]
    except (OSError, ValueError, TypeError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        todo = "correct the path"
        if path.parts[:1] == ("exports",):
            todo = f"make it: {command_that_makes(path.parent)}, then earshot prepare nearest"
        raise InputError(f"expected a list of ids in {path}, found: {found}; {todo}") from None
    if content is not None:
        if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
            raise InputError(f'expected a JSON list of ids such as ["a", "b"] in {path}, found another; correct it')
        listed = content
    else:
        lines = [line.rstrip() for line in text.splitlines() if line.strip()] or [""]
        segments = [row for line in lines if (row := SEGMENT.match(line))]
        cells = {lines[0]} if QUOTED.fullmatch(lines[0]) else set(re.split(r"[,;\t]", lines[0]))
        if segments and all(line.startswith("#") or SEGMENT.match(line) for line in lines):
            listed = [f"Y{row[1]}" for row in segments]
        elif COLUMNS & {cell.strip().strip('"').lower() for cell in cells}:
            listed = list(read_captions(path, required=False))
        elif len(cells) > 1:
            raise InputError(
                f"expected a column {', '.join(sorted(COLUMNS))} in {path}, or one id in each line, found a first line "
                f"{lines[0][:60]!r}; add a line with the columns' names"
            )
        else:  # some names in Clotho begin with a space
            listed = [line[1:-1].replace('""', '"') if QUOTED.fullmatch(line) else line for line in lines if line]
    if not listed:
        raise InputError(f"expected ids in {path}, found none; name another list")
    return list(dict.fromkeys(listed))


def clips_meant(listed: Iterable[str], clip_ids: Iterable[str]) -> dict[str, str]:
    """The clip that each listed id means, for those that mean one.

    An id means the clip of exactly this id. Where there is none, the ending of a media file is left out, and two ids
    of YouTube's form, 11 letters, digits, - or _, mean the same clip with and without a Y before them and _<start> or
    _<start>_<end> after them: `--abcDEF-_0`, `Y--abcDEF-_0.wav` and `Y--abcDEF-_0_30.000`. Starts are seconds or
    milliseconds; two different ones are two different clips. An id that would mean several clips means none.
    """
    known = set(clip_ids)
    found: dict[str, str] = {}
    others: dict[str, Video] = {}  # listed names of which there is no clip
    for name in listed:
        plain = ENDING.sub("", name)
        if name in known or plain in known:
            found[name] = name if name in known else plain
        elif video := Video.of(plain):
            others[name] = video
    clips: dict[str, list[str]] = {video.id: [] for video in others.values()}  # of each video
    if clips:
        for clip_id in known:
            if (match := VIDEO.fullmatch(clip_id)) and match[1] in clips:
                clips[match[1]].append(clip_id)
    for name, video in others.items():
        meant = [clip_id for clip_id in clips[video.id] if video.may_be(Video.of(clip_id))]
        if len(meant) == 1:
            found[name] = meant[0]
    return found


def clips_touched(listed: Iterable[str], clips: Mapping[str, Iterable[str]]) -> set[str]:
    """The clips that a list may mean, all of them, as what must not be trained on has to be left out.

    They are called as a listed id, with or without the ending of a media file, or are of a listed YouTube video,
    whatever their start: parts of a video may overlap, and share its sounds where they do not.

    Args:
        listed: ids, names of files or paths.
        clips: the names of each clip, by its id.
    """
    keys = {key for name in listed for key in _keys(name)}
    return {clip_id for clip_id, names in clips.items() if any(key in keys for name in names for key in _keys(name))}


def _keys(name: str) -> tuple[str, str]:
    """A name or path without its ending, and the YouTube id in it; where there is none, the same again."""
    plain_name = composed(ENDING.sub("", name))
    video = VIDEO.fullmatch(plain_name.rpartition("/")[2])
    return plain_name, video[1] if video else plain_name


@dataclass(frozen=True)
class Video:
    """A YouTube id, and where in the video a clip starts, in seconds or milliseconds, where that is said."""

    id: str
    start: float | None

    @classmethod
    def of(cls, name: str) -> "Video | None":
        """What a name of this form says; None for another name."""
        if not (match := VIDEO.fullmatch(name)):
            return None
        start = match[2].strip("_").partition("_")[0]
        return cls(match[1], float(start) if start else None)

    def may_be(self, other: "Video | None") -> bool:
        """Whether two names of one video can mean the same clip."""
        if other is None or self.start is None or other.start is None:
            return True
        return self.start in (other.start, other.start * 1000) or other.start == self.start * 1000
