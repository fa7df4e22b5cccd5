"""Rows that need no model: the best constant caption, random captions, the captions of a row shuffled among clips."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.bootstrap import derangement
from evaluation.captions_file import empty_rows, read_captions
from evaluation.cider import CiderD
from evaluation.scores import require_references
from evaluation.tokens import tokenize


class Guesses:
    """Collects rows that guess the captions of N clips.

    Attributes:
        systems: for each row the captions of its draws, each N texts.
        notes: what each row is.
    """

    def __init__(self, rows: CaptionRows, draws: int, seed: int) -> None:
        self.rows = rows
        self.draws = draws
        self.rng = np.random.default_rng(seed)
        self.systems: dict[str, list[list[str]]] = {}
        self.notes: list[str] = []

    def add_constant(self, source: Path, java: bool) -> None:
        """The best constant caption and random captions of a split folder or captions file with other clips."""
        other = read_captions(source) if source.is_file() else read_split(source)
        if shared := set(other["clip_ids"]) & set(self.rows["clip_ids"]):
            raise InputError(
                f"expected a train or val split without the clips under test, found {len(shared)} of them in "
                f"{source}; name another: a caption chosen on the clips that it is scored on proves nothing"
            )
        number = len(self.rows["clip_ids"])
        caption = best_constant_caption(other, java)
        pool = [reference for group in other["references"] for reference in group]
        self.systems["best constant"] = [[caption] * number]
        self.systems["random caption"] = [list(self.rng.choice(pool, number)) for _ in range(self.draws)]
        clips = len(other["clip_ids"])
        self.notes.append(
            f"best constant: {caption!r} for every clip, the caption with the highest CIDEr-D on {clips} other clips"
        )
        self.notes.append(f"random caption: a caption of one of those clips, mean of {self.draws} draws")

    def add_shuffled(self, row: str, runs: Sequence[CaptionRows]) -> None:
        """The captions of a row's runs, permuted so that no clip keeps its own."""
        number = len(self.rows["clip_ids"])
        if number < 2:
            raise InputError("expected two clips or more to shuffle, found one; leave --shuffle out")
        orders = [derangement(number, self.rng) for _ in range(self.draws)]
        name = f"{row}, shuffled"
        self.systems[name] = [[run["captions"][index] for index in order] for order, run in zip(orders, cycle(runs))]
        in_turn = ", of the training runs in turn" if len(runs) > 1 else ""
        self.notes.append(f"{name}: each clip gets another clip's caption, mean of {self.draws} permutations{in_turn}")


def best_constant_caption(rows: CaptionRows, java: bool = True) -> str:
    """The reference with the highest CIDEr-D when every clip gets it as caption."""
    require_references(rows)
    sentences = [reference for group in rows["references"] for reference in group]
    tokens = dict(zip(sentences, tokenize(sentences, java)[0]))
    cider = CiderD([[tokens[reference] for reference in group] for group in rows["references"]])
    return max(dict.fromkeys(sentences), key=lambda sentence: cider.score_everywhere(tokens[sentence]))


def read_split(folder: Path) -> CaptionRows:
    """The ids, references and labels of a split's shards, with empty captions; no media are read.

    Raises:
        InputError: no index, or a shard that cannot be read.
    """
    from datamodules.shards import read_index, read_samples

    rows = empty_rows()
    for shard in read_index(folder):
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
            rows["clip_ids"].append(sample.record["id"])
            rows["captions"].append("")
            rows["references"].append(sample.record["captions"])
            rows["labels"].append(sample.record["labels"])
    return rows
