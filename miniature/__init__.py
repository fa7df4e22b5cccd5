"""The miniature: a procedural audiovisual world that ships with the project and is read as any other corpus."""

import json
import shutil
from pathlib import Path
from typing import Any

from datamodules.clip_datamodule import ClipDataModule
from earshot.errors import InputError
from miniature.corpora import SPLITS, WORLD_VERSION, write_sentences, write_split


class Miniature(ClipDataModule):
    """A `ClipDataModule` whose splits write themselves, once, where they are missing.

    Args:
        world_seed: of the world; another seed is another world.
        max_clips: at most so many clips a split, in a folder of their own, for a quick try; None takes all.
        arguments: of `ClipDataModule`.
    """

    def __init__(
        self, root: str = "data/miniature", world_seed: int = 0, max_clips: int | None = None, **arguments: Any
    ) -> None:
        super().__init__(folder_of(root, max_clips), **arguments)
        self.prepare_data_per_node = False  # nodes share the folder, as everything under runs/ and exports/
        self.world_seed = world_seed
        self.max_clips = max_clips

    def prepare_data(self) -> None:
        """Write the splits that the command reads, where they are missing or made with other settings."""
        assert self.trainer is not None and self.trainer.state.fn is not None
        for split in SPLITS.keys() & set(self.wanted(self.trainer.state.fn.value).values()):
            ensure_split(Path(self.root), split, self.world_seed, self.max_clips)


def folder_of(root: str, max_clips: int | None) -> str:
    """The folder of the splits: one of their own for the first clips of each.

    Raises:
        InputError: no clip at all.
    """
    if max_clips is not None and max_clips < 1:
        raise InputError(f"expected max_clips of at least 1 or null, found {max_clips}; correct it")
    return root if max_clips is None else f"{root}/first-{max_clips}"


def ensure_split(root: Path, split: str, seed: int = 0, max_clips: int | None = None) -> None:
    """Write root/split unless it is there, whole, with these settings."""
    count = min(SPLITS[split][1], max_clips or SPLITS[split][1])
    made_with = {"world": WORLD_VERSION, "seed": seed, "clips": count}
    folder = root / split
    note = folder / "made_with.json"
    claimed = note.exists() and json.loads(note.read_text()) == made_with
    if claimed and (folder / "index.json").exists():  # the index is written last
        return
    if folder.exists() and not note.exists():
        raise InputError(f"expected the miniature or nothing in {folder}, found other files; give another data root")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    note.write_text(json.dumps(made_with))
    print(f"writing {count} clips to {folder}", flush=True)
    write_split(root, split, seed, count)


def write_miniature(root: Path, splits: list[str]) -> None:
    """Write the named splits (`corpus/part` or `sentences`), all of them when none is named.

    Raises:
        InputError: a name that is none of the miniature's.
    """
    known = [*SPLITS, "sentences"]
    if unknown := [split for split in splits if split not in known]:
        raise InputError(f"expected splits among {', '.join(known)}, found {unknown[0]}; correct it")
    for split in splits or known:
        if split == "sentences":
            write_sentences(root)
        else:
            ensure_split(root, split)
