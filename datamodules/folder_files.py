"""The files of a folder: one way to list them, for what is packed and what is read as it is."""

import os
from pathlib import Path


def folder_files(folder: Path) -> list[str]:
    """Sorted paths, in the folder, of all files of it and its subfolders but hidden ones.

    Subfolders that are links are read, too, each folder once: what is reached without links has that path. A link to a
    folder that holds this one is passed over.
    """
    found: list[str] = []
    seen = {str(parent) for parent in folder.resolve().parents}
    ahead = [str(folder)]
    for top in ahead:  # links that are found are put at its end
        for place, folders, names in os.walk(top):
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            ahead += [path for name in folders if os.path.islink(path := os.path.join(place, name))]
            inside = os.path.relpath(place, folder)
            before = "" if inside == "." else f"{inside}/"
            found += [before + name for name in names if not name.startswith(".")]
    return sorted(found)
