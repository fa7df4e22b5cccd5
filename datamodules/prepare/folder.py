"""A folder of audio files, images and videos as clips."""

import os
from pathlib import PurePosixPath

from datamodules.prepare.segments import Clip, MediaFolder, Row, Segment, is_video
from earshot.errors import InputError


def folder_clips(media: MediaFolder, captions: dict[str, list[str]]) -> tuple[list[Clip], list[Row]]:
    """Each file as a clip, and a row on each file and caption that was passed over.

    A clip's id is its path in the folder without the ending. Of several files of one such id a video is taken, then
    the first by its ending. An audio file has the image beside it of the same name.

    Args:
        media: the folder.
        captions: by clip id, or by file name without its ending.

    Raises:
        InputError: captions were given, and no file has one.
    """
    files: dict[str, list[str]] = {}
    for path in sorted(media.files, key=lambda path: (not is_video(path), path)):
        files.setdefault(os.path.splitext(path)[0], []).append(path)
    images = {os.path.splitext(path)[0]: path for path in sorted(media.images, reverse=True)}
    clips, rows, used = [], [], set()
    for clip_id in sorted(files):
        file, *others = files[clip_id]
        key = clip_id if clip_id in captions else PurePosixPath(clip_id).name
        used |= {key, file, *others}
        image = "" if is_video(file) else images.get(clip_id, "")
        used.add(image)
        clips.append(Clip(Segment(clip_id, (clip_id,), captions=tuple(captions.get(key, ()))), file, image, cut=True))
        rows += [Row(clip_id, other, "same clip", f"same name as {file}") for other in others]
    for path in media.images:
        clip_id = os.path.splitext(path)[0]
        if clip_id not in files:
            rows.append(Row("", path, "image alone", "an image without audio of the same name"))
        elif path not in used:
            rows.append(Row(clip_id, path, "same clip", f"same name as {files[clip_id][0]}"))
    why = "neither audio nor video nor image by its ending, or a name that is not in UTF-8"
    rows += [Row("", path, "unknown kind", why) for path in media.unknown]
    rows += [
        Row(clip_id, "", "missing", "captions that matched no file") for clip_id in captions if clip_id not in used
    ]
    if captions and not any(clip.segment.captions for clip in clips):
        raise InputError(
            f"expected captions of the files in {media.folder}, found ids such as {next(iter(captions))!r} and files "
            f"such as {clips[0].file!r}; correct the table, or pack a public corpus by its own command: earshot "
            "prepare --help"
        )
    return clips, rows
