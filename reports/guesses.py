"""Rows that need no model: the best constant caption, random captions, the captions of a row shuffled among clips."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules import caption_table
from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.bootstrap import derangement
from evaluation.captions_file import Clip, read_captions, rows_of
from evaluation.cider import CiderD
from evaluation.references import with_references
from evaluation.tokens import tokenize


class Guess(NamedTuple):
    """A row that no model captioned: the captions of its draws, each N texts, and what it is."""

    systems: list[list[str]]
    note: str


def constant_captions(
    source: Path, clip_ids: Sequence[str], draws: int, rng: np.random.Generator, java: bool
) -> dict[str, Guess]:
    """Two rows for these clips: the best constant caption and random captions, both of a split with other clips.

    Args:
        source: a split folder, a captions file, or a table of captions.
        clip_ids: N clips under test.
        draws: how many times random captions are drawn.
        rng: draws them.
        java: whether the PTB tokenizer may be used.

    Raises:
        InputError: a clip under test is among those of the source.
    """
    other, _ = with_references(other_clips(source))
    if shared := set(other["clip_ids"]) & set(clip_ids):
        raise InputError(
            f"expected a train or val split without the clips under test, found {len(shared)} of them in "
            f"{source}; name another: a caption chosen on the clips that it is scored on proves nothing"
        )
    number = len(clip_ids)
    caption = best_constant_caption(other, java)
    pool = [reference for group in other["references"] for reference in group]
    highest = f"the caption with the highest CIDEr-D on {len(other['clip_ids'])} other clips"
    return {
        "best constant": Guess([[caption] * number], f"{caption!r} for every clip, {highest}"),
        "random caption": Guess(
            [list(rng.choice(pool, number)) for _ in range(draws)],
            f"a caption of one of those clips, mean of {draws} draws",
        ),
    }


def shuffled_captions(runs: Sequence[CaptionRows], draws: int, rng: np.random.Generator) -> Guess:
    """The captions of a row's runs, permuted so that no clip keeps its own."""
    number = len(runs[0]["clip_ids"])
    if number < 2:
        raise InputError("expected two clips or more to shuffle, found one; leave --shuffle out")
    orders = [derangement(number, rng) for _ in range(draws)]
    systems = [[run["captions"][index] for index in order] for order, run in zip(orders, cycle(runs))]
    in_turn = ", of the training runs in turn" if len(runs) > 1 else ""
    return Guess(systems, f"each clip gets another clip's caption, mean of {draws} permutations{in_turn}")


def best_constant_caption(rows: CaptionRows, java: bool = True) -> str:
    """The reference with the highest CIDEr-D when every clip gets it as caption."""
    rows, _ = with_references(rows)
    sentences = [reference for group in rows["references"] for reference in group]
    tokens = dict(zip(sentences, tokenize(sentences, java)[0]))
    cider = CiderD([[tokens[reference] for reference in group] for group in rows["references"]])
    return max(dict.fromkeys(sentences), key=lambda sentence: cider.score_everywhere(tokens[sentence]))


def other_clips(source: Path) -> CaptionRows:
    """The clips of a split folder, of a captions file, or of a table such as WSAC trains on."""
    if not source.is_file():
        return read_split(source)
    if "references" in caption_table.read_rows(source, "captions", "correct the path")[0]:
        return read_captions(source)
    return rows_of([Clip(name, "", texts, []) for name, texts in caption_table.read_captions(source).items()])


def read_split(folder: Path) -> CaptionRows:
    """The ids, references and labels of a split's shards, with empty captions; no media are read.

    Raises:
        InputError: no index, or a shard that cannot be read.
    """
    from datamodules.shards import read_index, records

    return rows_of(
        [Clip(record["id"], "", record["captions"], record["labels"]) for record in records(read_index(folder))]
    )
