"""The miniature's splits on disk: each is whole or not there, however many processes write it at once."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from datamodules.shards import read_index, write_shards
from earshot.atomic import atomic_folder, write_text
from earshot.errors import InputError
from miniature.corpora import SPLITS, WORLD_VERSION, samples, sentences

NOTE = "made_with.json"
SAMPLES_PER_SHARD = 100


def folder_of(root: str, max_clips: int | None) -> str:
    """The folder of the splits, which for the first clips alone is one of their own.

    Raises:
        InputError: no clip at all.
    """
    if max_clips is not None and max_clips < 1:
        raise InputError(f"expected max_clips of at least 1 or null, found {max_clips}; correct it")
    return root if max_clips is None else f"{root}/first-{max_clips}"


def ensure_split(root: Path, split: str, seed: int = 0, max_clips: int | None = None) -> None:
    """Write root/split, or its first clips, unless it is there, with all its shards, with these settings.

    Where another process is writing it, wait for that one and use what it wrote.

    Raises:
        InputError: the folder holds something else.
    """
    folder = root / split
    note, lock = folder / NOTE, folder.with_name(f".{folder.name}.lock")
    count = min(SPLITS[split][1], max_clips or SPLITS[split][1])
    made_with = {"world": WORLD_VERSION, "seed": seed, "clips": count}

    def is_there() -> bool:
        with suppress(OSError, ValueError, InputError):  # of a note that is cut, or of an index without its tars
            return json.loads(note.read_text()) == made_with and bool(read_index(folder))
        return False

    if is_there():
        return
    if not note.exists() and any(folder.glob("*")):
        raise InputError(f"expected the miniature or nothing in {folder}, found other files; give another root")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if not is_there():
            print(f"writing {count} clips to {folder}", flush=True)
            with atomic_folder(folder) as partial:
                write_shards(partial, samples(split, seed, count), SAMPLES_PER_SHARD)
                write_text(partial / NOTE, json.dumps(made_with))
        lock.unlink()  # a process that waits for this file sees that it is gone and locks a new one


def write_sentences(root: Path) -> None:
    """Write root/sentences/{audible,inaudible}.txt, one sentence a line."""
    for name, lines in zip(("audible", "inaudible"), sentences()):
        write_text(root / "sentences" / f"{name}.txt", "\n".join(lines) + "\n")


def write_splits(root: Path, names: Sequence[str]) -> None:
    """Write the named splits (`corpus/part` or `sentences`), all of them when none is named.

    Raises:
        InputError: a name that is none of the miniature's.
    """
    known = [*SPLITS, "sentences"]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"expected splits among {', '.join(known)}, found {unknown[0]}; correct it")
    for name in names or known:
        if name == "sentences":
            write_sentences(root)
        else:
            ensure_split(root, name)
