"""References from a table of their own, for captions files that have none."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datamodules.caption_table import read_captions
from datamodules.id_list import clips_meant
from earshot.errors import InputError
from earshot.terminal import printable
from evaluation.field_forms import CAPTIONS, Fields, read_entries, text_of


def references_by_clip(table: Path, clip_ids: Sequence[str]) -> dict[str, list[str]]:
    """The references of the clips that the table has; how many of its clips have no caption is printed.

    A clip may be called in the captions file as in the table, or by another name of the same YouTube video
    (`datamodules.id_list.clips_meant`), or by a path that ends so.

    Args:
        table: Clotho's or AudioCaps' table, another that `datamodules.caption_table` reads, a captions file with a
            column references, COCO's annotations (.json) or JSON Lines.
        clip_ids: of the captions file.

    Raises:
        InputError: no such table, it has none of the clips, or two captions are of one of its clips.
    """
    references = _read(table)
    meant = clips_meant(clip_ids, references)
    names = Counter(clip_id.rpartition("/")[2] for clip_id in clip_ids)
    paths = {
        name: clip_id
        for clip_id in clip_ids
        if clip_id not in meant and names[name := clip_id.rpartition("/")[2]] == 1  # `earshot caption` writes paths
    }
    meant |= {paths[name]: clip for name, clip in clips_meant(paths, references).items()}
    if twice := [clip for clip, count in Counter(meant.values()).items() if count > 1]:
        raise InputError(
            f"expected one caption of each clip in {table}, found several of {twice[0]!r}; remove all but one"
        )
    if not meant:
        raise InputError(
            f"expected references of the captions' clips in {table}, found none: clips are called "
            f"{next(iter(clip_ids))!r}, there {next(iter(references))!r}; name the table of this split"
        )
    if silent := [clip_id for clip_id in references if clip_id not in set(meant.values())]:
        print(f"no caption: {len(silent)} of the {len(references)} clips in {table}, such as {printable(silent[0])}")
    return {clip_id: references[name] for clip_id, name in meant.items()}


def _read(table: Path) -> dict[str, list[str]]:
    """References by the table's own ids, of which there is one."""
    remedy = "correct --references"
    if not table.is_file():
        raise InputError(f"expected a table of references at {table}, found none; {remedy}")
    entries = read_entries(table, remedy)
    columns = [column for column in dict.fromkeys(key for entry in entries for key in entry) if column]
    if table.suffix.lower() not in (".json", ".jsonl") and "references" not in columns:
        return read_captions(table, remedy)
    fields = Fields(columns, table, ("caption", *CAPTIONS))  # which is the truth beside caption_predicted
    found: dict[str, list[str]] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{table}, entry {number}"
        texts = fields.references_of(entry, where) or [text_of(entry.get(fields.caption), where)]
        found.setdefault(fields.clip_id(entry, number), []).extend(texts)
    return found
