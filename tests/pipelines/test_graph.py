"""What the graph of each experiment runs, in which order, by Snakemake's dry run."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from dry_runs import before, command_of, dry_run


def test_dali_names_every_stage_in_order(tmp_path: Path) -> None:
    """One criterion, two seeds: a seed of its own changes every name, and a stage waits for those that it reads."""
    jobs = dry_run(tmp_path, "dali", "--config", "quick=1", "seeds=2")
    for seed in ("seed42", "seed1"):
        order = [
            f"llava_prefix_{seed}.fit",
            f"pseudo_captions_attentive_ot_{seed}.predict",
            f"distillation_attentive_ot_{seed}.fit",
            f"audiocaps_attentive_ot_distilled_{seed}.test",
            "dali_audiocaps.report",
            "dali_table.report",
        ]
        for earlier, later in zip(order, order[1:]):
            assert earlier in before(jobs, later)
        assert f"dali_attentive_ot_{seed}.fit" in before(jobs, order[1])
        assert "miniature/audiocaps/val" in before(jobs, "dali_audiocaps.report")  # which no training reads
    fits = [name for name in jobs if name.endswith((".fit", ".predict"))]
    assert len(fits) == 2 * 4
    tests = [name for name in jobs if name.endswith(".test")]
    assert len(tests) == 2 * (1 + 2 + 2 + 2) + 2  # a seed: image, two corpora, both inputs; no prefix, written prompt
    for name in (*fits, *tests):
        other = "seed1" if "seed42" in name else "seed42"
        assert other not in jobs[name]["Shell command"], "a seed reads another's export"
    assert command_of(jobs["dali_attentive_ot_seed1.fit"]) == (
        "fit --config configs/dali_ot.yaml --config configs/criterion/attentive_ot.yaml --seed_everything 1"
        " --data.num_workers 0 --run_name dali_attentive_ot_seed1"
    )
    assert command_of(jobs["pseudo_captions_attentive_ot_seed1.predict"]) == (
        "predict --config configs/pseudo_captions.yaml --export.source exports/dali_attentive_ot_seed1"
        " --model.captioner.prefix exports/llava_prefix_seed1"
        " --model.captioner.audio_encoder.init_args.pretrained_model_name_or_path exports/dali_attentive_ot_seed1"
        " --run_name pseudo_captions_attentive_ot_seed1"
    )
    grouped = [
        job["Shell command"].partition("env ")[2].split()[0] for name, job in jobs.items() if name in (*fits, *tests)
    ]
    assert set(grouped) == {"WANDB_RUN_GROUP=dali"}
    report = jobs["dali_audiocaps.report"]["Shell command"]
    assert '"attentive_ot=runs/audiocaps_attentive_ot_seed42,runs/audiocaps_attentive_ot_seed1"' in report
    assert report.endswith("--output runs/dali_audiocaps.md")


FULL_SIZE = {  # the overlays of each graph's commands
    "dali": {
        "audioset_filter", "llava_prefix_tuning", "token_alignment", "attentive_ot", "pseudo_captions",
        "audiovisual_distillation", "written_prompt",
    },
    "wsac": {"clap_prefix"},
    "audibility": {"audibility_classifier", "guided_captioner", "keywords"},
    "zeraucap": {"keywords"},
    "compare": {
        "audioset_filter", "llava_prefix_tuning", "token_alignment", "attentive_ot", "pseudo_captions",
        "audiovisual_distillation", "clap_prefix", "audibility_classifier", "guided_captioner", "keywords",
        "comet", "hard_prompt", "mils", "drcap",
    },
}  # fmt: skip


@pytest.mark.parametrize("target", FULL_SIZE)
@pytest.mark.slow
def test_full_size_meets_nothing_of_the_miniature(target: str, tmp_path: Path) -> None:
    """Every command has its overlay in configs/paper, no run, export or page is called as one of the miniature's, no
    split is its; and a job takes all GPUs of a node, so that one runs at a time."""
    small, full = (dry_run(tmp_path, target, "--config", *more) for more in (["seeds=1"], ["size=paper"]))
    outputs = [{path for job in jobs.values() for path in job["output"].split(", ")} for jobs in (small, full)]
    assert not outputs[0] & outputs[1] and len(outputs[1]) >= len(full)
    assert not any("miniature" in job["Shell command"] for job in full.values())
    trained = {name: job for name, job in full.items() if "train.py" in job["Shell command"]}
    names = [command_of(job).split("--run_name ")[1] for job in trained.values()]
    assert all("_paper" in name for name in names)
    used = {found for job in trained.values() for found in re.findall(r"configs/paper/(\w+)", command_of(job))}
    assert used == FULL_SIZE[target]
    assert all("configs/paper/" in command_of(job) for job in trained.values())
    assert all("gpu=1" in job["resources"] for job in trained.values())  # of one in profiles/default


def test_what_full_size_reads_is_missed_before_the_first_job(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "pipelines" / "Snakefile")]
    command = [*snakemake, "wsac", "--cores", "1", "--config", "size=paper"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    shown = done.stdout + done.stderr
    assert done.returncode and "Select jobs to execute" not in shown
    for path in ("wavcaps/train/index.json", "clotho/test/index.json", "clotho/train.csv", "audiocaps/val.csv"):
        assert f"data/{path}, " in shown
    assert "checkpoints/WavCaps-CNN14.pt, found none of them; get them as docs/" in shown


def test_the_papers_tables_at_full_size(tmp_path: Path) -> None:
    """What their rows and columns are is read from the report's commands."""
    dali = dry_run(tmp_path, "dali", "--config", "size=paper", "results=docs/results")
    assert "--config configs/paper/attentive_ot.yaml" in command_of(dali["dali_attentive_ot_paper_seed42.fit"])
    assert "docs/results/dali_paper.md" in dali["dali_table_paper.report"]["output"]
    assert "--constant-from data/clotho/val.csv" in dali["dali_clotho_paper.report"]["Shell command"]
    assert "--published 2" in dali["visual_bias_paper.report"]["Shell command"]
    assert "--published 4" in dali["examples_paper.report"]["Shell command"]
    pairs = command_of(dali["audiocaps_attentive_ot_4_pairs_paper_seed42.test"])
    assert "--model.captioner.prefix exports/llava_prefix_4_pairs_paper_seed42 " in pairs
    assert "--export.source exports/dali_attentive_ot_paper_seed42 " in pairs and "inputs" not in pairs  # from audio
    wsac = dry_run(tmp_path, "wsac", "--config", "size=paper")
    assert "--published wsac clotho" in wsac["wsac_clotho_paper.report"]["Shell command"]
    assert "--data.train clotho/train.csv" in command_of(wsac["wsac_clotho_paper_baseline_42.fit"])


@pytest.mark.slow
def test_the_authors_protocol_has_names_of_its_own(tmp_path: Path) -> None:
    plain = dry_run(tmp_path, "audibility", "--config", "size=paper")
    authors = dry_run(tmp_path, "audibility", "--config", "size=paper", "protocol=authors")
    assert len([name for name in plain if name.startswith("guided")]) == 14
    assert '"0.45=runs/guided_paper_seed42_0.45"' in plain["audibility_sweep_paper.report"]["Shell command"]
    shared = plain.keys() & authors.keys()
    assert shared == {"audibility_paper_seed42.fit", "audibility_paper_seed42.test"}  # the classifier is the same
    for name, job in authors.items():
        if name.startswith(("guided", "keywords")):
            assert "--config configs/authors/guided_scores.yaml" in command_of(job)
    guided = command_of(authors["guided_authors_paper_seed42_0.015.test"])
    assert "--config configs/authors/guided.yaml --config configs/authors/guided_scores.yaml" in guided


@pytest.mark.slow
def test_full_size_alignment_trains_on_the_clips_nearest_to_their_labels(tmp_path: Path) -> None:
    """The filter's own list, of as many clips as the paper keeps; or a list from elsewhere, and no filter."""
    jobs = dry_run(tmp_path, "dali", "--config", "size=paper", "quick=1")
    align, nearest = jobs["dali_attentive_ot_paper_seed42.fit"], jobs["audioset_filter_paper.nearest"]
    assert "--config configs/paper/attentive_ot.yaml" in command_of(align)
    assert "--data.ids exports/audioset_filter_paper/nearest.csv" in command_of(align)
    assert "--keep 500000 --output exports/audioset_filter_paper/nearest.csv" in nearest["Shell command"]
    assert before(jobs, "dali_attentive_ot_paper_seed42.fit") == {
        "audioset_filter_paper." + one for one in ("nearest", "predict")
    }
    (tmp_path / "theirs.csv").write_text("clip_id\n")
    jobs = dry_run(tmp_path, "dali", "--config", "size=paper", "quick=1", "ids=theirs.csv")
    assert "--data.ids theirs.csv" in command_of(jobs["dali_attentive_ot_paper_seed42.fit"])
    assert not any("audioset_filter" in name for name in jobs)
    assert "--data.ids" not in command_of(
        dry_run(tmp_path, "dali", "--config", "quick=1")["dali_attentive_ot_seed42.fit"]
    )


def test_one_fit_embeds_the_corpus_of_the_shift_for_all(tmp_path: Path) -> None:
    jobs = dry_run(tmp_path, "wsac", "--config", "size=paper", "seeds=2")
    first, *others = [
        f"wsac_{corpus}_paper_embedding_shift_{seed}.fit" for corpus in ("audiocaps", "clotho") for seed in (42, 1)
    ]
    assert all(before(jobs, other) == {first} for other in others) and not before(jobs, first)


@pytest.mark.parametrize(
    ("target", "setting", "error"),
    [
        ("dali", "size=Paper", "expected SIZE=miniature or paper or quick, found Paper; correct it"),
        ("dali", "seeds=20", "expected SEEDS=1 or 2 .* or 8, found 20; correct it"),
        ("dali", "keep=most", "expected KEEP as a number of clips, found most; correct it"),
        ("audibility", "protocol=author", "expected PROTOCOL=paper or authors, found author; correct it"),
        (
            "criteria",
            "size=paper",
            "expected the miniature, found SIZE=paper; make dali SIZE=paper has every criterion",
        ),
        ("compare", "size=small", "expected SIZE=miniature or paper or quick, found small; correct it"),
        ("variants", "split=train", "expected SPLIT=val or test, found train; correct it"),
        ("demo", "size=paper", "expected the miniature, found SIZE=paper; make dali SIZE=paper has every criterion"),
    ],
)
def test_a_setting_that_there_is_not(target: str, setting: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=error):
        dry_run(tmp_path, target, "--config", setting)


def test_audibility_guides_by_each_seeds_own_classifier(tmp_path: Path) -> None:
    jobs = dry_run(tmp_path, "audibility", "--config", "seeds=2", "lambdas=0 0.06")
    assert len([name for name in jobs if name.startswith("guided_")]) == 4
    for name in ("guided_seed1_0", "guided_seed1_0.06", "keywords_seed1"):
        assert "--model.classifier exports/audibility_seed1 " in command_of(jobs[f"{name}.test"])
        assert "audibility_seed1.fit" in before(jobs, f"{name}.test")
    assert "lambda_2 0.06 --run_name guided_seed1_0.06" in command_of(jobs["guided_seed1_0.06.test"])


def test_wsac_decodes_each_training_and_chooses_the_best_pair(tmp_path: Path) -> None:
    jobs = dry_run(tmp_path, "wsac")
    best = jobs["wsac_clotho_best_on_val.report"]
    assert best["Shell command"].count("runs/wsac_clotho_") == 7  # six pairs and the file
    name = "wsac_clotho_embedding_shift_42_val_projection.test"
    assert name in before(jobs, "wsac_clotho_best_on_val.report")
    assert "--data.test clotho/val --export.source exports/wsac_clotho_embedding_shift_42" in command_of(jobs[name])
    assert "strategy/embedding_shift.yaml --config configs/strategy/projection.yaml" in command_of(jobs[name])


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ("demo", 1 + 4),
        ("criteria", 5 * 3 + 2),
        ("variants", 8 * 2),
        ("dali_pairs", 1 + 4 * 2),  # and the alignment that Figure 5 hears by
        ("dali_bias", 4 * 2),
        ("dali_examples", 1 + 4 * 2),
        ("zeraucap", 2),
        ("compare", 25 + 2 * 11 + 1 + 4 * 13),  # fits; both corpora; with pictures; decoders of both on both
    ],
)
def test_the_other_graphs(target: str, count: int, tmp_path: Path) -> None:
    """So many runs of train.py."""
    assert len([job for job in dry_run(tmp_path, target).values() if "train.py" in job["Shell command"]]) == count


@pytest.mark.slow
def test_a_fit_goes_on_only_from_a_checkpoint_newer_than_what_it_reads(tmp_path: Path) -> None:
    fit = "exports/distillation_ot_seed42/provenance.json"
    jobs = dry_run(tmp_path, fit)
    assert "--ckpt_path" not in command_of(jobs["distillation_ot_seed42.fit"])
    checkpoint = tmp_path / "runs/distillation_ot_seed42/fit-1/checkpoints/last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert "--ckpt_path last" in command_of(dry_run(tmp_path, fit)["distillation_ot_seed42.fit"])
    made = tmp_path / "exports/llava_prefix_seed42/provenance.json"
    made.parent.mkdir(parents=True)
    made.touch()
    os.utime(made, (time.time() + 5, time.time() + 5))
    assert "--ckpt_path" not in command_of(dry_run(tmp_path, fit)["distillation_ot_seed42.fit"])


def test_make_says_how_to_get_snakemake(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(["make", "dali", f"BIN={tmp_path}"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: expected Snakemake in {tmp_path}, found none; do ")


def test_make_passes_its_variables_on() -> None:
    command = [
        "make",
        "-n",
        "dali-pairs",
        "BIN=bin",
        "SEEDS=3",
        "QUICK=1",
        "SIZE=paper",
        "JOBS=4",
        "RESULTS=r",
        "DRY=1",
        "PROTOCOL=authors",
        "ARGS=--a 1 --b 2",
    ]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, env=outside).stdout
    wanted = "--cores 4 --dry-run dali_pairs --config seeds=3 quick=1 size=paper results=r protocol=authors"
    assert " ".join(shown.split()).endswith(f"{wanted} extra='--a 1 --b 2'")


@pytest.mark.parametrize(
    ("given", "settings"),
    [([], "seeds=3"), (["QUICK=1"], "seeds=1 size=quick"), (["QUICK=1", "SEEDS=2"], "seeds=2 size=quick")],
)
def test_make_compare_trains_three_times_and_quickly_once(given: list[str], settings: str) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    command = ["make", "-n", "compare", "BIN=bin", *given]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, env=outside).stdout
    assert shown.split("Snakefile ")[1].split() == f"--cores 2 compare --config {settings}".split()
