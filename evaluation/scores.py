"""The scores of one captions file: computed once, shown as a table, written as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from datamodules.clips import CaptionRows
from earshot.atomic import write_text
from earshot.errors import InputError
from earshot.terminal import printable
from evaluation.caption_metrics import measure
from evaluation.captions_file import clips_of
from evaluation.references import with_references
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
    """Scores of the N clips that have references.

    Attributes:
        num_clips: N.
        without_references: ids of the clips that are not scored.
        tokenizer: "ptb" or "words".
        values: scores by name; None where `not_computed` has the reason.
        not_computed: reasons by name.
        cider_d: of each clip that was given, None for one without references; zero where there is only one clip.
    """

    num_clips: int
    without_references: list[str]
    tokenizer: str
    values: dict[str, float | None]
    not_computed: dict[str, str]
    cider_d: list[float | None]

    def write(self, folder: Path, made_by: Mapping[str, Any] | None = None) -> Path:
        """Add the scores to scores.json in a run folder, atomically; what the stage logged there stays.

        Args:
            folder: of the run.
            made_by: what the scores come from, added to what the file says of that.
        """
        path = folder / FILE_NAME
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        reasons = {name: f"not computed: {reason}" for name, reason in self.not_computed.items()}
        found: dict[str, Any] = {
            "num_clips": self.num_clips,
            "num_without_references": len(self.without_references),
            "tokenizer": self.tokenizer,
            **self.values,
            "not_computed": reasons,
        }
        if made_by is not None:
            found["made_by"] = {**known.get("made_by", {}), **made_by}
        write_text(path, json.dumps(known | found, indent=2) + "\n")
        return path

    def table(self, title: str) -> Table:
        """The table for the terminal, one line per metric."""
        caption = f"tokens by {TOKENIZERS[self.tokenizer]}"
        number = Column(f"{self.num_clips} clips", justify="right")
        table = Table("metric", number, title=title, caption=caption, title_justify="left")
        for name, value in self.values.items():
            shown = f"not computed: {self.not_computed[name]}" if value is None else f"{value:.3f}"
            table.add_row(TITLES.get(name, name), escape(shown))
        return table


def captions_table(rows: CaptionRows, number: int, cider_d: Sequence[float | None] | None = None) -> Table:
    """The first captions as a table for the terminal."""
    columns = [Column(name, overflow="fold") for name in ("clip", "caption", "a reference")]
    title = f"the first {min(number, len(rows['captions']))} captions"
    table = Table(*columns, Column("CIDEr-D", justify="right"), title=title, title_justify="left")
    for index, clip in enumerate(clips_of(rows)[:number]):
        score = None if cider_d is None else cider_d[index]
        shown = "" if score is None else f"{score:.2f}"
        cells = (clip.clip_id, clip.caption, (clip.references or [""])[0], shown)
        table.add_row(*(escape(printable(cell)) for cell in cells))
    return table


def score_rows(rows: CaptionRows, work_folder: Path, vocabulary: Vocabulary | None = None, java: bool = True) -> Scores:
    """Score the captions of those clips that have references, all at once.

    CIDEr-D takes its document frequencies from all clips that are scored, and from no other.

    Args:
        rows: distinct clips.
        work_folder: SPICE keeps its parses here while it runs.
        vocabulary: adds the word scores.
        java: False leaves METEOR, SPICE, SPIDEr and the PTB tokenizer out.

    Raises:
        InputError: no clip, or none with references.
    """
    if not rows["clip_ids"]:
        raise InputError("expected captions to score, found none; check the split and the number of batches")
    clip_ids = rows["clip_ids"]
    rows, without = with_references(rows)
    measured = measure([rows["captions"]], rows["references"], work_folder, java)
    metrics, reasons = dict(measured.metrics), dict(measured.not_computed)
    if vocabulary is not None:
        metrics |= word_metrics([rows["captions"]], rows["labels"], vocabulary)
    values: dict[str, float | None] = {}
    for name in (name for name in TITLES if name in metrics or name in reasons):
        value = float(metrics[name].scores[0]) if name in metrics else math.nan
        values[name] = None if math.isnan(value) else value
        if math.isnan(value):
            reasons.setdefault(name, "the vocabulary has none of the clips' labels, or no caption names an event")
    number = len(rows["clip_ids"])
    scores = metrics["cider_d"].per_clip[0].tolist() if "cider_d" in metrics else [0.0] * number
    by_clip = dict(zip(rows["clip_ids"], scores))
    return Scores(number, without, measured.tokenizer, values, reasons, [by_clip.get(clip_id) for clip_id in clip_ids])


def read_score(folder: Path, name: str) -> float | None:
    """A score in scores.json of a run folder; None where it was not computed.

    Raises:
        InputError: no scores.json, or one that cannot be read.
    """
    path = folder / FILE_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"expected scores at {path}, found none ({error}); run `test` first") from None
    return float(value) if isinstance(value, int | float) else None
