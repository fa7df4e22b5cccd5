"""Whether the filter finds clips that show other things than sound: `python -m benchmarks.audioset_filter DISTANCES`.

DISTANCES is the table that predict with configs/audioset_filter.yaml writes. Which clips of the miniature are
mismatched is in their records: those that show nothing of what sounds. The AUROC is that of the distance for these
against the others, with a bootstrap interval over the clips.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from datamodules.prepare.nearest import read_distances
from datamodules.shards import read_index, read_samples
from earshot.errors import InputError, one_line_errors
from evaluation.bootstrap import estimate
from miniature.vocabulary import SOUNDING
from reports.page import add_page, write_page


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distances", type=Path)
    parser.add_argument("--split", type=Path, default=Path("data/miniature/audioset/train"), help="(%(default)s)")
    parser.add_argument("--samples", type=int, default=2000, help="bootstrap samples (%(default)s)")
    add_page(parser, "runs/audioset_filter.md")
    options = parser.parse_args(args)
    options.command = ["python", "-m", "benchmarks.audioset_filter", *args]
    with one_line_errors():
        run(options)


def run(options: argparse.Namespace) -> None:
    """Score the distances, and write the page."""
    truth, found = mismatched(options.split), dict(read_distances(options.distances)[0])
    ids = sorted(truth.keys() & found.keys())
    wrong = np.array([truth[clip_id] for clip_id in ids], bool)
    if not 0 < wrong.sum() < len(ids):
        raise InputError(
            f"expected clips of {options.split} of both kinds in {options.distances}, found {wrong.sum()} mismatched "
            f"of {len(ids)}; predict more clips of this split"
        )
    distances = np.array([found[clip_id] for clip_id in ids])
    rng, aurocs = np.random.default_rng(0), []
    for _ in range(options.samples):
        picks = rng.integers(len(ids), size=len(ids))
        both = 0 < wrong[picks].sum() < len(ids)
        aurocs.append(roc_auc_score(wrong[picks], distances[picks]) if both else np.nan)
    nearest = np.argsort(distances, kind="stable")[: len(ids) // 4]  # the paper keeps a quarter of AudioSet
    line = {
        "clips": str(len(ids)),
        "mismatched": str(wrong.sum()),
        "AUROC": estimate(float(roc_auc_score(wrong, distances)), np.array(aurocs)),
        "share of mismatched": f"{wrong.mean():.4f}",
        "among the nearest quarter": f"{wrong[nearest].mean():.4f}",
    }
    measured = [
        f"distances: `{options.distances}` of `{options.split}`",
        f"interval: 95%, bootstrapped over the clips ({options.samples} samples, seed 0)",
    ]
    write_page(options, [line], {}, ["mismatched: the clip's images show none of the things that sound"], measured)


def mismatched(split: Path) -> dict[str, bool]:
    """Of each clip of a split of the miniature, whether its images show none of the things that sound."""
    found = {}
    for shard in read_index(split):
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
            seen = {name for name, _ in sample.record["seen"]} & set(SOUNDING)
            found[sample.record["id"]] = not seen & set(sample.record["labels"])
    return found


if __name__ == "__main__":
    main()
