"""Scores that models computed when the captions were scored: read for a table, as no report has the models or audio."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.captions_file import read_captions
from evaluation.metric import Metric, mean
from evaluation.scores import TITLES
from evaluation.scores_file import read_clip_scores

COLUMNS = ("fense", "sbert_sim", "fer", "spider_fl", "clap_sim")


def model_metrics(
    rows: Mapping[str, Sequence[Path]], clip_ids: Sequence[str], without_model: int
) -> tuple[dict[str, Metric], list[str]]:
    """The metrics that all rows have, (R, N), and a note on those that only some have.

    Args:
        rows: for each row its captions files, whose scores.csv are read; scores of other captions do not count.
        clip_ids: the N clips of the table.
        without_model: how many systems follow that no model captioned; they have none of these scores, nan.
    """
    files = [path for group in rows.values() for path in group]
    scores = [read_clip_scores(path, read_captions(path)) for path in files]
    metrics, notes = {}, []
    for name in COLUMNS:
        whole = [name in found and found[name].keys() >= set(clip_ids) for found in scores]
        if all(whole):
            values = [[found[name][clip_id] for clip_id in clip_ids] for found in scores]
            metrics[name] = mean(np.array(values + [[np.nan] * len(clip_ids)] * without_model))
        elif any(whole):
            lacking = next(path for path, has in zip(files, whole) if not has)
            notes.append(f"{TITLES[name]}: left out, as {lacking} was not scored by it")
    return metrics, notes
