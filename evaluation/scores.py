"""The scores of one captions file: computed once, shown as a table, written beside it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Column, Table

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from earshot.terminal import printable
from evaluation.bootstrap import Estimate, bootstrap_weights, estimate
from evaluation.caption_metrics import SentenceMetric, measure
from evaluation.captions_file import clips_of
from evaluation.metric import NotComputed, ratio
from evaluation.references import with_references
from evaluation.scores_file import PerClip, write_scores
from evaluation.word_scores import Vocabulary, word_metrics

SAMPLES = 2000  # of the bootstrap, with seed 0
Similarity = Callable[[Mapping[str, str]], Mapping[str, float]]  # captions to cosines, by clip id; or NotComputed
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
    "sbert_sim": "sentence similarity",
    "fer": "fluency error rate",
    "fense": "FENSE",
    "spider_fl": "SPIDEr-FL",
    "clap_sim": "CLAP similarity",
    "vocabulary": "vocabulary size",
    "caption_length": "caption length",
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
        rows: all clips, those without references too.
        num_clips: N.
        without_references: ids of the clips that are not scored.
        tokenizer: "ptb" or "words".
        values: scores by name; None where `not_computed` has the reason.
        intervals: ends of the 95% bootstrap interval over the clips, by name.
        not_computed: reasons by name.
        per_clip: by name, by clip id; clips with nothing to score are left out.
        models: of the metrics that need one, by name: a folder or hub id, or a class and digests.
    """

    rows: CaptionRows
    num_clips: int
    without_references: list[str]
    tokenizer: str
    values: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    not_computed: dict[str, str]
    per_clip: PerClip
    models: dict[str, str]

    @property
    def cider_d(self) -> list[float | None]:
        """CIDEr-D of each clip that was given; None where there is none."""
        scores = self.per_clip.get("cider_d", {})
        return [scores.get(clip_id) for clip_id in self.rows["clip_ids"]]

    def write(self, captions: Path, made_by: Mapping[str, Any] | None = None) -> Path:
        """Add the scores to those beside a captions file, atomically; what the stage logged there stays.

        Args:
            captions: the file.
            made_by: what the scores come from, added to what is said of that.
        """
        found: dict[str, Any] = {
            "num_clips": self.num_clips,
            "num_without_references": len(self.without_references),
            "tokenizer": self.tokenizer,
            **self.values,
            "intervals": self.intervals,
            "models": self.models,
            "not_computed": {name: f"not computed: {reason}" for name, reason in self.not_computed.items()},
        }
        if made_by is not None:
            found["made_by"] = dict(made_by)
        return write_scores(captions, self.rows, found, self.per_clip)

    def headline(self) -> str:
        """CIDEr-D, or where there is none the first score, with its interval."""
        name = "cider_d" if self.values.get("cider_d") is not None else next(iter(self.values), "")
        value = self.values.get(name)
        if value is None:
            return ""
        ends = ", ".join(f"{end:.3f}" for end in self.intervals.get(name, ()))
        return f"{TITLES.get(name, name)} {value:.3f} {f'[{ends}] ' if ends else ''}of {self.num_clips} clips"

    def table(self, title: str) -> Table:
        """The table for the terminal, one line per metric."""
        caption = f"tokens by {TOKENIZERS[self.tokenizer]}"
        number = Column(f"{self.num_clips} clips", justify="right")
        shown = escape(printable(title))
        table = Table("metric", number, "95% interval", title=shown, caption=caption)
        table.title_justify = table.caption_justify = "left"
        for name, value in self.values.items():
            if value is None:  # see `lacking`
                continue
            ends = ", ".join(f"{end:.3f}" for end in self.intervals.get(name, ()))
            text = f"{value:.0f}" if name == "vocabulary" else f"{value:.3f}"
            table.add_row(TITLES.get(name, name), text, ends)
        return table


def lacking(not_computed: Mapping[str, str]) -> list[str]:
    """A line for each reason why scores were not computed, with the titles of these."""
    reasons: dict[str, list[str]] = {}
    for name, reason in not_computed.items():
        reasons.setdefault(reason, []).append(TITLES.get(name, name))
    return [f"{', '.join(titles)} not computed: {reason}" for reason, titles in reasons.items()]


def captions_table(rows: CaptionRows, number: int, cider_d: Sequence[float | None] | None = None) -> Table:
    """The first captions as a table for the terminal, with a reference and the score where there are scores."""
    columns = [Column("clip", no_wrap=True, overflow="ellipsis", max_width=22)]  # folded ids cannot be searched for
    columns.append(Column("caption", overflow="fold"))
    if cider_d is not None:
        columns += [Column("a reference", overflow="fold"), Column("CIDEr-D", justify="right")]
    title = f"the first {min(number, len(rows['captions']))} captions"
    table = Table(*columns, title=title, title_justify="left")
    for index, clip in enumerate(clips_of(rows)[:number]):
        score = None if cider_d is None else cider_d[index]
        shown = "" if score is None else f"{score:.2f}"
        cells = (clip.clip_id, clip.caption, (clip.references or [""])[0], shown)
        table.add_row(*(escape(printable(cell)) for cell in cells[: len(columns)]))
    return table


def score_rows(
    rows: CaptionRows,
    work_folder: Path,
    vocabulary: Vocabulary | None = None,
    java: bool = True,
    models: Sequence[SentenceMetric] = (),
    similarity: Similarity | None = None,
) -> Scores:
    """Score the captions of those clips that have references, all at once.

    CIDEr-D takes its document frequencies from all clips that are scored, and from no other.

    Args:
        rows: distinct clips.
        work_folder: SPICE keeps its parses here while it runs.
        vocabulary: adds the word scores.
        java: False leaves METEOR, SPICE, SPIDEr and the PTB tokenizer out.
        models: metrics that need a model.
        similarity: adds how near the captions are to the audio; called with those that are scored.

    Raises:
        InputError: no clip, or none with references.
    """
    if not rows["clip_ids"]:
        raise InputError("expected captions to score, found none; check the split and the number of batches")
    scored, without = with_references(rows)
    number, clip_ids = len(scored["clip_ids"]), scored["clip_ids"]
    measured = measure([scored["captions"]], scored["references"], work_folder, java, models, scored["clip_ids"])
    metrics, reasons = dict(measured.metrics), dict(measured.not_computed)
    if similarity is not None:
        try:
            if not (cosines := similarity(dict(zip(clip_ids, scored["captions"])))):
                raise NotComputed("no clip has audio")
            pairs = [(cosines.get(clip_id, 0.0), clip_id in cosines) for clip_id in clip_ids]
            metrics["clap_sim"] = ratio(*np.array([pairs]).transpose(2, 0, 1))  # over the clips with audio
        except NotComputed as reason:
            reasons["clap_sim"] = str(reason)
    if vocabulary is not None:
        metrics |= word_metrics([scored["captions"]], scored["labels"], vocabulary)
    weights = bootstrap_weights(number, SAMPLES, seed=0)
    values: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float]] = {}
    per_clip: PerClip = {}
    for name in (name for name in TITLES if name in metrics or name in reasons):
        value = Estimate(math.nan, math.nan, math.nan)
        if name in metrics:
            value = estimate(float(metrics[name].scores[0]), metrics[name].resampled(weights)[:, 0])
            clips = dict(zip(clip_ids, metrics[name].per_clip[0].tolist()))
            per_clip[name] = {clip_id: score for clip_id, score in clips.items() if not math.isnan(score)}
        values[name] = None if math.isnan(value.value) else value.value
        if math.isnan(value.value):
            reasons.setdefault(name, "the vocabulary has none of the clips' labels, or no caption names an event")
        elif not math.isnan(value.low):
            intervals[name] = (value.low, value.high)
    used = {model.name: model.model for model in models}
    per_clip = {name: scores for name, scores in per_clip.items() if scores}
    return Scores(rows, number, without, measured.tokenizer, values, intervals, reasons, per_clip, used)
