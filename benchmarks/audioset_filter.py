"""Whether the filter finds clips that show other things than sound: `python -m benchmarks.audioset_filter DISTANCES`.

DISTANCES is the table that predict with configs/audioset_filter.yaml writes. Which clips of the miniature are
mismatched is in their records: those that show nothing of what sounds. The AUROC is that of the distance for these
against the others, with a bootstrap interval over the clips.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from datamodules.prepare.nearest import read_distances
from datamodules.shards import read_index, read_samples
from earshot.errors import InputError, one_line_errors
from evaluation.bootstrap import estimate
from miniature.vocabulary import SOUNDING, THINGS
from reports.page import add_page, write_page
from reports.table import Cell, at_least


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distances", type=Path)
    parser.add_argument("--split", type=Path, default=Path("data/miniature/audioset/train"), help="(%(default)s)")
    parser.add_argument("--samples", type=at_least(1), default=2000, help="bootstrap samples (%(default)s)")
    add_page(parser, "runs/audioset_filter.md")
    with one_line_errors():
        options = parser.parse_args(args)
        options.command = ["python", "-m", "benchmarks.audioset_filter", *args]
        run(options)


def run(options: argparse.Namespace) -> None:
    """Score the distances of all clips, and of those with and without a label that names what is seen otherwise."""
    clips = split_clips(options.split)
    found = dict(read_distances(options.distances)[0])
    ids = sorted(clips.keys() & found.keys())
    wrong = np.array([clips[clip_id].mismatched for clip_id in ids], bool)
    renamed = np.array([clips[clip_id].renamed for clip_id in ids], bool)
    distances = np.array([found[clip_id] for clip_id in ids])
    groups = {"all": np.ones(len(ids), bool), "of siren or rain": renamed, "of neither": ~renamed}
    lines = [score(name, wrong[some], distances[some], options) for name, some in groups.items()]
    measured = [
        f"distances: `{options.distances}` of `{options.split}`",
        f"interval: 95%, bootstrapped over the clips ({options.samples} samples, seed 0)",
    ]
    notes = [
        "mismatched: the clip's images show none of the things that sound",
        "siren or rain: labels whose source has another name in captions of images, an ambulance and a cloud",
    ]
    write_page(options, lines, {}, notes, measured)


def score(name: str, wrong: np.ndarray, distances: np.ndarray, options: argparse.Namespace) -> dict[str, Cell]:
    """One line of the table, for clips that are mismatched (N,) and their distances (N,)."""
    if not 0 < wrong.sum() < len(wrong):
        raise InputError(
            f"expected clips of {options.split} of both kinds in {options.distances}, found {wrong.sum()} mismatched "
            f"of {len(wrong)} ({name}); predict more clips of this split"
        )
    rng, aurocs = np.random.default_rng(0), []
    for _ in range(options.samples):
        picks = rng.integers(len(wrong), size=len(wrong))
        both = 0 < wrong[picks].sum() < len(wrong)
        aurocs.append(roc_auc_score(wrong[picks], distances[picks]) if both else np.nan)
    nearest = np.argsort(distances, kind="stable")[: -(-len(wrong) // 4)]  # the paper keeps a quarter of AudioSet
    return {
        "clips": name,
        "N": str(len(wrong)),
        "mismatched": str(wrong.sum()),
        "AUROC": estimate(float(roc_auc_score(wrong, distances)), np.array(aurocs)),
        "share of mismatched": f"{wrong.mean():.3f}",
        "in the nearest quarter": f"{wrong[nearest].mean():.3f}",
    }


class Shown(NamedTuple):
    """Whether a clip shows none of the things that sound, and whether a label has another name for what is seen."""

    mismatched: bool
    renamed: bool


def split_clips(split: Path) -> dict[str, Shown]:
    """The clips of a split of the miniature by id."""
    renamed = {name for name, thing in THINGS.items() if thing.seen and thing.heard and thing.seen not in thing.heard}
    found = {}
    for shard in read_index(split):
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
            labels = set(sample.record["labels"])
            seen = {name for name, _ in sample.record["seen"]} & set(SOUNDING)
            found[sample.record["id"]] = Shown(not seen & labels, bool(labels & renamed))
    return found


if __name__ == "__main__":
    main()
