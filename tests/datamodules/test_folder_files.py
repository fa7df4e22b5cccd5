"""Which files of a folder are found, by the walk itself and by what packs and captions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.folder_files import folder_files
from datamodules.media_clips import list_media
from datamodules.prepare.segments import MediaFolder

READERS: dict[str, Callable[[Path], list[str]]] = {
    "walk": folder_files,
    "captions": lambda folder: list(list_media([folder])[0]),
    "packing": lambda folder: MediaFolder(folder).files,
}


@pytest.mark.parametrize("reader", READERS)
def test_linked_folders_are_read_and_each_folder_once(reader: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "own"
    for name in ("own/b.wav", "own/sub/a.wav", "own/.hidden/a.wav", "own/.c.wav", "beside.wav", "real/d.wav"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for link, target in {
        "own/part": "../real",  # outside
        "own/.part": "../real",
        "own/again": "sub",  # a folder that is read by its own path
        "own/sub/circle": "..",
        "own/up": "../..",
        "real/back": "../own/sub",  # a circle of two
        "own/gone": "nowhere",
    }.items():
        (tmp_path / "data" / link).symlink_to(target)
    found = READERS[reader](folder)
    gone = ["gone"] if reader == "walk" else []  # no ending of a media file
    assert found == ["b.wav", *gone, "part/d.wav", "sub/a.wav"]
