"""The sounds of a run's clips as a browser plays them, from packed shards or from files."""

import base64
import io
from collections.abc import Collection
from pathlib import Path

import soundfile
import yaml

from datamodules.endings import AUDIO, VIDEO
from datamodules.media import MediaError, read_audio
from datamodules.shards import INDEX, read_index, read_samples, sample_ids
from earshot.errors import InputError

TYPES = {
    ".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
}  # fmt: skip


def folder_of_sounds(captions: Path) -> Path:
    """The split, or the folder of files, that the run of a captions file read, by the configuration beside it.

    Raises:
        InputError: there is no configuration, or no such folder.
    """
    path = captions.with_name("config.yaml")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["init_args"] if path.is_file() else {}
    split = data.get(captions.parent.name.partition("-")[0]) or data.get("test") or ""
    root = data.get("root", "")
    for folder in (Path(root, f"first-{data.get('max_clips')}", split), Path(root, split), Path(split)):
        if split and folder.is_dir():
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
    found: dict[str, str] = {}
    for shard in read_index(folder):
        if wanted.isdisjoint(sample_ids(shard)):
            continue

        def media(record: dict[str, object]) -> list[str]:
            names = record["crc32"]
            assert isinstance(names, dict)
            return [name for name in ("wav", "flac") if name in names][:1] if record["id"] in wanted else []

        for sample in read_samples(shard, 0, shard.num_samples, media):
            for ending, data in sample.media.items():
                found[sample.record["id"]] = uri(data, TYPES[f".{ending}"])
    return found


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
    kind = TYPES.get(path.suffix.lower())
    try:
        if kind is not None:
            return uri(path.read_bytes(), kind)
        audio = read_audio(path)
    except (MediaError, OSError) as error:
        raise InputError(f"expected a sound in {path}, found: {error}; leave its clip out") from error
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.waveform, audio.sampling_rate, format="FLAC")
    return uri(buffer.getvalue(), TYPES[".flac"])


def uri(data: bytes, kind: str) -> str:
    """Bytes as a data: URI of that media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
