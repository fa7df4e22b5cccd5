"""A folder of audio files, images and videos, packed into shards."""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import soundfile
from PIL import Image, ImageOps
from tqdm import tqdm

from datamodules.caption_table import read_captions
from datamodules.prepare.video import read_audio, read_frames
from datamodules.shards import write_shards
from earshot.errors import InputError

KINDS = {
    "audio": {".wav", ".flac", ".mp3"},
    "image": {".jpg", ".jpeg", ".png"},
    "video": {".mp4", ".mkv", ".webm", ".mov"},
}
NAMED = 20  # at most this many files are named


class Folder:
    """The clips of a folder and its subfolders; a clip's id is its path in the folder without the ending.

    An audio file is a clip, with the image of the same name where there is one; so is a video.

    Args:
        folder: to read.
        captions: by clip id, or by file name without its ending.
        image_size: images are resized by the shorter side and cropped to this size; None keeps their sizes.

    Attributes:
        left_out: the files left out, each with the reason; filled while `samples` runs.
        packed: the number of clips, of those with images and of those with captions; likewise.
    """

    def __init__(self, folder: Path, captions: dict[str, list[str]], image_size: int | None = None) -> None:
        self.captions = captions
        self.image_size = image_size
        self.left_out: dict[Path, str] = {}
        self.packed: Counter[str] = Counter()
        self.clips: dict[str, dict[str, Path]] = {}
        kind_of = {ending: kind for kind, endings in KINDS.items() for ending in endings}
        for path in sorted(folder.rglob("*")):
            kind = kind_of.get(path.suffix.lower())
            if kind is None or path.name.startswith("."):
                continue
            files = self.clips.setdefault(path.relative_to(folder).with_suffix("").as_posix(), {})
            if kind in files:
                self.left_out[path] = f"same name as {files[kind].name}"
            else:
                files[kind] = path
        for clip_id, files in list(self.clips.items()):
            if "video" in files:
                for kind in {"audio", "image"} & files.keys():
                    self.left_out[files.pop(kind)] = f"same name as {files['video'].name}"
            elif "audio" not in files:
                self.left_out[files["image"]] = "an image without audio of the same name"
                del self.clips[clip_id]

    def samples(self) -> Iterator[tuple[str, dict[str, bytes], dict[str, Any]]]:
        """Clips as `write_shards` takes them; files that cannot be read are left out."""
        for clip_id, files in tqdm(self.clips.items(), desc="packing", unit="clip"):
            source = files.get("video") or files["audio"]
            try:
                media = self._video(source) if "video" in files else self._audio(source)
            except (OSError, RuntimeError, ValueError, av.FFmpegError) as error:
                self.left_out[source] = str(error)
                continue
            if "image" in files:
                try:
                    with Image.open(files["image"]) as image:
                        media["0.jpg"] = self._jpeg(ImageOps.exif_transpose(image))
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                    self.left_out[files["image"]] = f"{error}; its audio is packed without it"
            captions = self.captions.get(clip_id) or self.captions.get(clip_id.rpartition("/")[2], [])
            self.packed.update(clips=1, images=len(media) > 1, captions=bool(captions))
            yield clip_id, media, {"captions": captions}

    def _audio(self, path: Path) -> dict[str, bytes]:
        samples, rate = soundfile.read(path, dtype="float32")  # all of it, to know that it can be read
        if not len(samples):
            raise ValueError("audio without samples")
        ending = path.suffix.lower()[1:]
        if ending != "mp3":
            return {ending: path.read_bytes()}
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
        return {"flac": buffer.getvalue()}

    def _video(self, path: Path) -> dict[str, bytes]:
        media = {"flac": read_audio(path)}
        return media | {f"{second}.jpg": self._jpeg(image) for second, image in read_frames(path).items()}

    def _jpeg(self, image: Image.Image) -> bytes:
        image = image.convert("RGB")
        if self.image_size is not None:
            image = ImageOps.fit(image, (self.image_size, self.image_size), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95)
        return buffer.getvalue()


def pack_folder(
    folder: Path,
    output: Path,
    captions: Path | None = None,
    image_size: int | None = None,
    samples_per_shard: int = 500,
) -> None:
    """Pack `folder` into the split `output`, and print what was packed and what was left out.

    Raises:
        InputError: no such folder, nothing in it that can be packed, or `output` holds something already.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of audio files or videos in {folder}, found none; correct --input")
    if output.exists() and any(output.iterdir()):
        raise InputError(f"expected {output} to be empty or missing, found files; delete it or give another --output")
    source = Folder(folder, read_captions(captions) if captions else {}, image_size)
    if not source.clips:
        endings = " ".join(sorted(KINDS["audio"] | KINDS["video"]))
        raise InputError(f"expected audio files or videos ({endings}) in {folder}, found none; correct --input")
    try:
        shards = write_shards(output, source.samples(), samples_per_shard)
        packed = source.packed
        print(
            f"packed {packed['clips']} clips, {packed['images']} with images and {packed['captions']} with captions, "
            f"into {output} ({len(shards)} tar)"
        )
    finally:
        if source.left_out:
            print(f"left out {len(source.left_out)} files:")
        for path, reason in list(source.left_out.items())[:NAMED]:
            print(f"  {path}: {reason}")
        if len(source.left_out) > NAMED:
            print(f"  ... and {len(source.left_out) - NAMED} more")
