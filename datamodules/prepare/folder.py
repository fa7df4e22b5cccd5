"""A folder of audio files, images and videos as clips."""

import os
from collections import Counter
from pathlib import PurePosixPath

from datamodules.endings import composed
from datamodules.prepare.segments import Clip, MediaFolder, Row, Segment, is_video
from earshot.errors import InputError


def folder_clips(media: MediaFolder, captions: dict[str, list[str]]) -> tuple[list[Clip], list[Row]]:
    """Each file as a clip, and a row on each file and caption that was passed over.

    A clip's id is its path in the folder without the ending. Of several files of one such id a video is taken, then
    the first by its ending. An audio file has the image beside it of the same name.

    Args:
        media: the folder.
        captions: by clip id, or by file name without its ending where one file of the folder has that name.

    Raises:
        InputError: captions were given, and no file has one.
    """
    files: dict[str, list[str]] = {}
    for path in sorted(media.files, key=lambda path: (not is_video(path), path)):
        files.setdefault(os.path.splitext(path)[0], []).append(path)
    images = {composed(os.path.splitext(path)[0]): path for path in sorted(media.images, reverse=True)}
    key_of = {composed(key): key for key in captions}
    of_name = Counter(composed(PurePosixPath(clip_id).name) for clip_id in files)
    id_of = {composed(clip_id): clip_id for clip_id in files}
    clips, rows = [], []
    used: set[str] = set()  # keys of captions
    taken: set[str] = set()  # images
    for clip_id in sorted(files):
        file, *others = files[clip_id]
        name = composed(PurePosixPath(clip_id).name)
        key = key_of.get(composed(clip_id)) or (key_of.get(name, "") if of_name[name] == 1 else "")
        used.add(key)
        image = "" if is_video(file) else images.get(composed(clip_id), "")
        taken.add(image)
        clips.append(Clip(Segment(clip_id, (clip_id,), captions=tuple(captions.get(key, ()))), file, image, cut=True))
        rows += [Row(clip_id, other, "same clip", f"same name as {file}") for other in others]
    for path in media.images:
        own = id_of.get(composed(os.path.splitext(path)[0]))
        if own is None:
            rows.append(Row("", path, "image alone", "an image without audio of the same name"))
        elif path not in taken:
            rows.append(Row(own, path, "same clip", f"same name as {files[own][0]}"))
    why = "neither audio nor video nor image by its ending, or a name that is not in UTF-8"
    rows += [Row("", path, "unknown kind", why) for path in media.unknown]
    for key in captions:
        if key not in used:
            several = of_name[composed(key)] > 1
            detail = (
                "captions that may be of several files: give their paths"
                if several
                else "captions that matched no file"
            )
            rows.append(Row(key, "", "missing", detail))
    if captions and not any(clip.segment.captions for clip in clips):
        raise InputError(
            f"expected captions of the files in {media.folder}, found ids such as {next(iter(captions))!r} and files "
            f"such as {clips[0].file!r}; correct the table, or pack a public corpus by its own command: earshot "
            "prepare --help"
        )
    return clips, rows
