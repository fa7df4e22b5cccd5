"""The comparison of all systems: its runs are those of the other graphs, and each is tested on both corpora."""

import re
from pathlib import Path

import pytest
from dry_runs import before, command_of, dry_run


def rows_of(job: dict[str, str]) -> dict[str, list[str]]:
    """The rows of a comparison, each with its runs."""
    found = re.findall(r'"([^"=]+)=(runs/[^"]+)"', job["Shell command"])
    return {name: runs.split(",") for name, runs in found}


def test_every_system_is_on_both_corpora_with_its_own_weights(tmp_path: Path) -> None:
    jobs = dry_run(tmp_path, "compare", "--config", "seeds=2")
    tables = {corpus: rows_of(jobs[f"compare_{corpus}.report"]) for corpus in ("audiocaps", "clotho")}
    plain = {name.replace("from clotho", "from the other") for name in tables["audiocaps"]}
    assert plain - {name.replace("from audiocaps", "from the other") for name in tables["clotho"]} == {
        "DALI, distilled, with picture"
    }
    for corpus, other in (("audiocaps", "clotho"), ("clotho", "audiocaps")):
        report = jobs[f"compare_{corpus}.report"]
        assert "--costs --html" in report["Shell command"] and "--against 'WSAC, PD'" in report["Shell command"]
        assert f"--constant-from data/miniature/{corpus}/val" in report["Shell command"]
        for name, runs in tables[corpus].items():
            assert len(runs) == (1 if name in ("ZerAuCap", "MILS") else 2) and len(set(runs)) == len(runs), name
            for run in runs:
                job = jobs[f"{run.removeprefix('runs/')}.test"]
                where = re.findall(r"--data.test (\S+)", command_of(job))
                assert where == [f"{corpus}/test"] or (where == [] and corpus == "audiocaps"), run
        for seed in (42, 1):
            test = f"wsac_{other}_baseline_{seed}_on_{corpus}_projection.test"
            command = command_of(jobs[test])
            assert f"--data.train {other}/train --data.val {other}/val --data.test {corpus}/test " in command
            assert f"--export.source exports/wsac_{other}_baseline_{seed} --run_name wsac_{other}" in command
            assert before(jobs, test) == {f"wsac_{other}_baseline_{seed}.fit"}
            assert test in before(jobs, f"compare_{corpus}.report")
    assert "--data.test clotho/test" in command_of(jobs["guided_seed1_0.06_on_clotho.test"])
    first = "wsac_audiocaps_embedding_shift_42.fit"  # which embeds the corpus that COMET reads too
    assert first in before(jobs, "wsac_clotho_comet_1.fit") and not before(jobs, first)
    refined = command_of(jobs["wsac_clotho_baseline_1_on_audiocaps_projection_refined.test"])
    assert "--run_suffix _projection_refined --run_name wsac_clotho_baseline_1_on_audiocaps" in refined
    assert "strategy/projection.yaml --config configs/refine/own_clap.yaml" in refined


@pytest.mark.slow
def test_nothing_that_another_graph_made_is_made_twice(tmp_path: Path) -> None:
    """By name and by command; what remains is the tests on the other corpus, and the tables."""
    jobs = dry_run(tmp_path, "compare")
    others: dict[str, dict[str, str]] = {}
    for target in ("dali", "wsac", "audibility", "zeraucap"):
        others |= dry_run(tmp_path, target)
    shared = jobs.keys() & others.keys()
    for name in shared:
        mine, theirs = jobs[name]["Shell command"], others[name]["Shell command"]
        assert mine == theirs, name
    new = ("_on_", "_refined", "_comet", "_fused_", "_soft_prompt_", "_hard_prompt_", "_sharp_", "mils_", "drcap_")
    assert {name for name in jobs.keys() - shared if not any(part in name for part in new)} == {
        "compare_audiocaps.report",
        "compare_clotho.report",
    }


@pytest.mark.slow
def test_a_quick_comparison_has_names_of_its_own_and_fewer_clips(tmp_path: Path) -> None:
    whole, quick = (dry_run(tmp_path, "compare", "--config", f"size={size}") for size in ("miniature", "quick"))
    assert {name for name in whole.keys() & quick.keys() if not name.startswith("miniature/")} == set()
    assert len(whole) == len(quick)
    trained = {name: command_of(job) for name, job in quick.items() if "train.py" in job["Shell command"]}
    assert {name for name in trained if "--data.max_clips 200" not in trained[name]} == {"audibility_quick_seed42.fit"}
    report = quick["compare_clotho_quick.report"]["Shell command"]
    assert "QUICK: at most 200 clips of each split, training runs: 1" in report
