"""The probe of the filter: which clips are mismatched, and their AUROC by pairs."""

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks import audioset_filter as probe
from datamodules.shards import read_index, read_samples
from miniature.vocabulary import THINGS


@pytest.fixture()
def split(world_root: Path) -> Path:
    return world_root / "first-40/audioset/train"


def by_pairs(wrong: np.ndarray, distances: np.ndarray) -> float:
    """The AUROC as the share of pairs in the right order (Mann and Whitney)."""
    ours, others = distances[wrong][:, None], distances[~wrong][None]
    return float(((ours > others) + (ours == others) / 2).mean())


def test_the_page_has_the_auroc_of_each_group(split: Path, in_tmp_path: Path) -> None:
    rng, clips = np.random.default_rng(0), probe.split_clips(split)
    ids = list(clips)
    wrong, renamed = (np.array([clips[i][part] for i in ids]) for part in (0, 1))
    wrong_way = rng.integers(9, size=len(ids)) / 8  # with ties
    with open("distances.csv", "w", newline="") as file:
        csv.writer(file).writerows([("clip_id", "distance"), *zip(ids, wrong_way)])
    probe.main(["distances.csv", "--split", str(split), "--samples", "20", "--title", "Filter"])
    lines = [line.split(" | ") for line in Path("runs/audioset_filter.md").read_text().splitlines() if "| " in line]
    for cells, some in zip(lines[1:], (wrong | ~wrong, renamed, ~renamed), strict=True):
        auroc = by_pairs(wrong[some], wrong_way[some])
        assert cells[1:3] == [str(some.sum()), str(wrong[some].sum())] and cells[3].startswith(f"{auroc:.3f} [")


def test_mismatched_clips_show_what_does_not_sound(split: Path) -> None:
    """As the world draws them: only a mismatched clip shows a thing that could sound and is not among its labels."""
    found = probe.split_clips(split)
    for shard in read_index(split):
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: ()):
            labels, clip = sample.record["labels"], found[sample.record["id"]]
            shown = [name for name, _ in sample.record["seen"] if THINGS[name].heard]
            assert clip.mismatched == any(name not in labels for name in shown)
            assert clip.renamed == ("siren" in labels or "rain" in labels)
    assert {clip.mismatched for clip in found.values()} == {True, False}


def test_clips_of_one_kind_are_refused(split: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matched = next(clip_id for clip_id, clip in probe.split_clips(split).items() if not clip.mismatched)
    Path("distances.csv").write_text(f"clip_id,distance\n{matched},0.5\n")
    with pytest.raises(SystemExit):
        probe.main(["distances.csv", "--split", str(split)])
    assert "found 0 mismatched of 1 (all); predict more clips of this split" in capsys.readouterr().err
