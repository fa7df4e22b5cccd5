"""The scores of one captions file: computed once, shown as a table, written as JSON."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.caption_metrics import measure
from evaluation.word_scores import Vocabulary, word_metrics

FILE_NAME = "scores.json"
TITLES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D",
    "meteor": "METEOR",
    "spice": "SPICE",
    "spider": "SPIDEr",
    "precision": "precision",
    "recall": "recall",
    "verb_recall": "verb recall",
    "visual_share": "visual words",
    "audibility": "A",
}
TOKENIZERS = {
    "ptb": "the PTB tokenizer",
    "words": "plain words, not PTB: not comparable with published scores",
}


@dataclass(frozen=True)
class Scores:
    """Scores of N clips.

    Attributes:
        num_clips: N.
        tokenizer: "ptb" or "words".
        values: by name; None where `not_computed` has the reason.
        not_computed: reasons by name.
        cider_d: of each clip, (N,); zeros where there is only one.
    """

    num_clips: int
    tokenizer: str
    values: dict[str, float | None]
    not_computed: dict[str, str]
    cider_d: np.ndarray

    def write(self, folder: Path) -> Path:
        """Write scores.json into the folder at one blow; scores that are there and were not asked for now stay."""
        reasons = {name: f"not computed: {reason}" for name, reason in self.not_computed.items()}
        found = {"num_clips": self.num_clips, "tokenizer": self.tokenizer, **self.values, "not_computed": reasons}
        return write_scores(folder, found)

    def table(self, title: str) -> Table:
        """One line for each metric, for the terminal."""
        table = Table(title=title, caption=f"tokens by {TOKENIZERS[self.tokenizer]}", title_justify="left")
        table.add_column("metric")
        table.add_column(f"{self.num_clips} clips", justify="right")
        for name, value in self.values.items():
            table.add_row(
                TITLES.get(name, name),
                f"{value:.3f}" if value is not None else escape(f"not computed: {self.not_computed[name]}"),
            )
        return table


def captions_table(rows: CaptionRows, number: int, cider_d: np.ndarray | None = None) -> Table:
    """The first captions, to be read."""
    table = Table(title=f"the first {min(number, len(rows['captions']))} captions", title_justify="left")
    for column in ("clip", "caption", "a reference", "CIDEr-D"):
        table.add_column(column, justify="right" if column == "CIDEr-D" else "left", overflow="fold")
    clips = zip(rows["clip_ids"][:number], rows["captions"], rows["references"])
    for index, (clip_id, caption, references) in enumerate(clips):
        score = "" if cider_d is None else f"{cider_d[index]:.2f}"
        table.add_row(*map(escape, (clip_id, caption, references[0] if references else "", score)))
    return table


def require_references(rows: CaptionRows) -> None:
    """Raise an InputError where a clip has no reference."""
    bare = [clip_id for clip_id, references in zip(rows["clip_ids"], rows["references"]) if not any(references)]
    if bare:
        raise InputError(
            f"expected reference captions for every clip, found none for {len(bare)} such as {bare[0]!r}; "
            "use `predict` for clips without references"
        )


def score_rows(rows: CaptionRows, work_folder: Path, vocabulary: Vocabulary | None = None, java: bool = True) -> Scores:
    """Score captions of distinct clips, all at once (CIDEr-D's document frequencies are those of the whole).

    Args:
        rows: N clips, each with a reference at least.
        work_folder: where SPICE keeps its parses while it runs.
        vocabulary: adds the scores by words.
        java: False leaves METEOR, SPICE, SPIDEr and the PTB tokenizer out.

    Raises:
        InputError: no clip, or a clip without references.
    """
    if not rows["clip_ids"]:
        raise InputError("expected captions to score, found none; check the split and the number of batches")
    require_references(rows)
    measured = measure([rows["captions"]], rows["references"], work_folder, java)
    metrics, reasons = dict(measured.metrics), dict(measured.not_computed)
    if vocabulary is not None:
        metrics |= word_metrics([rows["captions"]], rows["labels"], vocabulary)
    values: dict[str, float | None] = {}
    for name in TITLES:
        if name in metrics:
            value = float(metrics[name].scores[0])
            values[name] = None if math.isnan(value) else value
            if math.isnan(value):
                reasons[name] = "no clip has a label that the vocabulary knows, or no caption names one"
        elif name in reasons:
            values[name] = None
    cider_d = metrics["cider_d"].per_clip[0] if "cider_d" in metrics else np.zeros(len(rows["clip_ids"]))
    return Scores(len(rows["clip_ids"]), measured.tokenizer, values, reasons, cider_d)


def write_scores(folder: Path, found: dict[str, Any]) -> Path:
    """Put scores into scores.json of the folder at one blow; others that are there stay."""
    path = folder / FILE_NAME
    content = json.loads(path.read_text()) if path.is_file() else {}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content | found, indent=2) + "\n")
    os.replace(partial, path)
    return path
