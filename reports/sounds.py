"""The sounds of a run's clips as a browser plays them, from packed shards or from files."""

import io
from collections.abc import Collection
from pathlib import Path

import soundfile

from datamodules.endings import AUDIO, VIDEO
from datamodules.media import MediaError, read_audio
from datamodules.shards import INDEX
from earshot.data_uri import data_uri
from earshot.errors import InputError
from evaluation.scores_file import read_scores
from reports.clip_pages.media import SOUNDS, TYPES, data_arguments, read_media
from reports.clip_pages.of_run import config_of


def folder_of_sounds(captions: Path) -> Path:
    """The split, or the folder of files, that the run of a captions file read, as its test noted it beside the scores
    or as its configuration says.

    Raises:
        InputError: neither does, or there is no such folder.
    """
    data = data_arguments(config_of(captions.parent))
    split = str(data.get(captions.parent.name.partition("-")[0]) or data.get("test") or "")
    root = str(data.get("root") or "")
    noted = ((read_scores(captions).get("made_by") or {}).get("clips") or {}).get("folder")
    configured = [Path(root, f"first-{data.get('max_clips')}", split), Path(root, split), Path(split)] if split else []
    for folder in [*([Path(noted)] if isinstance(noted, str) else []), *configured]:
        if folder.is_dir():
            return folder
    found = f"no folder {Path(root, split)}" if split else f"no configuration in {captions.parent}"
    raise InputError(f"expected the sounds of {captions}, found {found}; name the split or folder by --sounds")


def read_sounds(folder: Path, clip_ids: Collection[str]) -> dict[str, str]:
    """The sounds of these clips as data: URIs.

    Args:
        folder: a packed split, or a folder of media files whose names, or paths in the folder, are the clips' ids, with
            or without the ending.
        clip_ids: of the clips.

    Raises:
        InputError: a clip without a sound, or one that cannot be read.
    """
    found = _packed(folder, set(clip_ids)) if (folder / INDEX).is_file() else _files(folder, set(clip_ids))
    if missing := sorted(set(clip_ids) - found.keys()):
        raise InputError(
            f"expected a sound of clip {missing[0]!r} in {folder}, found none, nor of {len(missing) - 1} others; name "
            "the split or folder that the run read by --sounds"
        )
    return found


def _packed(folder: Path, wanted: set[str]) -> dict[str, str]:
    return {
        clip_id: data_uri(TYPES[ending], data)
        for clip_id, media in read_media(folder, sorted(wanted))
        for ending, data in media.items()
        if ending in SOUNDS
    }


def _files(folder: Path, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        names = {name, name.removesuffix(path.suffix), path.name, path.stem}
        if path.suffix.lower() in AUDIO | VIDEO and (clip_ids := names & wanted - found.keys()):
            found |= dict.fromkeys(clip_ids, _file(path))
    return found


def _file(path: Path) -> str:
    """A file as it is where browsers play it, else its audio as FLAC."""
    kind = TYPES.get(path.suffix.lower().removeprefix("."))
    try:
        if kind is not None:
            return data_uri(kind, path.read_bytes())
        audio = read_audio(path)
    except (MediaError, OSError) as error:
        raise InputError(f"expected a sound in {path}, found: {error}; leave its clip out") from error
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.waveform, audio.sampling_rate, format="FLAC")
    return data_uri(TYPES["flac"], buffer.getvalue())
