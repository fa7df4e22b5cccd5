"""CLAP-Refine through the real command, in every kind of captioner; its arithmetic is in decoding/test_clap_refine."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, arguments
from wsac_command import command

from evaluation.captions_file import read_captions
from train import main

OVERLAYS = REPOSITORY / "configs/refine"
METRIC = ("--config", str(REPOSITORY / "configs/metrics/clap_similarity.yaml"))
CLAP = ("--config", str(OVERLAYS / "clap.yaml"))
FEW = ("--model.refine.init_args.beams", "[1,2,3]", "--export.load", "false", "--evaluation.java", "false")


def results(folder: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, list[tuple[str, float]]]]:
    """scores.json, captions by clip, and the candidates that the report was given."""
    scores = json.loads((folder / "scores.json").read_text())
    rows = read_captions(folder)
    told = json.loads((folder / "explanations.json").read_text())
    lists = {
        clip_id: [(text, score) for reason in each["reasons"] if "Candidates" in reason[0] for text, score in reason[1]]
        for clip_id, each in told.items()
    }
    return scores, dict(zip(rows["clip_ids"], rows["captions"])), lists


def agree(folder: Path) -> dict[str, Any]:
    """The caption is the best candidate, by the cosine that the metric computes from audio that it reads itself."""
    scores, captions, candidates = results(folder)
    with open(folder / "scores.csv") as file:
        cosines = {row["clip_id"]: float(row["clap_sim"]) for row in csv.DictReader(file)}
    assert len(candidates) == 40 and any(len(texts) > 1 for texts in candidates.values())
    for clip_id, ranked in candidates.items():
        assert ranked[0][0] == captions[clip_id]
        assert ranked[0][1] == pytest.approx(cosines[clip_id], abs=1e-4)
        assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    captioned_by = scores["made_by"]["captions"]
    assert captioned_by["chosen_by"] == scores["models"]["clap_sim"] and captioned_by["refine"]["beams"] == [1, 2, 3]
    assert "favours them" in scores["made_by"]["warning"]
    return scores


@pytest.mark.slow
def test_dali_from_images_reads_the_audio_for_clap_alone(world_root: Path, in_tmp_path: Path) -> None:
    image = ("--config", str(REPOSITORY / "configs/inputs/image.yaml"))
    main(["test", *arguments(world_root, *image, *CLAP, *METRIC, *FEW)])
    refined = agree(Path("runs/image_refined/test-1"))
    main(["test", *arguments(world_root, *image, *METRIC, "--export.load", "false", "--evaluation.java", "false")])
    alone = json.loads(Path("runs/image/test-1/scores.json").read_text())
    assert refined["clap_sim"] > alone["clap_sim"] and "warning" not in alone["made_by"]


@pytest.mark.slow
def test_dali_whose_encoder_takes_other_audio_than_clap(world_root: Path, in_tmp_path: Path) -> None:
    """CAV-MAE takes 2.6 s, the miniature's CLAP all of a clip."""
    main(["test", *arguments(world_root, *CLAP, *METRIC, *FEW)])
    agree(Path("runs/dali_ot_refined/test-1"))


@pytest.mark.slow
def test_wsac_by_its_own_clap_on_any_number_of_devices(captions_root: Path, in_tmp_path: Path) -> None:
    """Seeded samples are a clip's own: they are the same in other batches, on two devices."""
    own = ("--config", str(OVERLAYS / "own_clap.yaml"), "--model.refine.init_args.samples", "2")
    fast = ("--trainer.max_epochs", "1", "--data.batch_size", "8")
    command("fit", captions_root, *fast)
    command("test", captions_root, *own, *METRIC, "--model.refine.init_args.beams", "[1,2,3]")
    scores = agree(Path("runs/clap_prefix_refined/test-1"))
    assert scores["made_by"]["captions"]["refine"]["samples"] == 2
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp_fork", "--data.eval_batch_size", "7")
    command("test", captions_root, *own, *two, "--model.refine.init_args.beams", "[1,2,3]")
    one, other = (results(Path(f"runs/clap_prefix_refined/test-{number}")) for number in (1, 2))
    assert one[1] == other[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "more"),
    [
        ("keywords", ("--model.guidance.init_args.max_new_tokens", "6")),
        ("guided", ("--model.classifier", "null", "--model.guidance.init_args.lambda_2", "0",
                    "--model.guidance.init_args.max_new_tokens", "4", "--model.guidance.init_args.num_steps", "2")),
    ],
    ids=("keywords", "guided"),
)  # fmt: skip
def test_guidance_by_another_clap(config: str, more: tuple[str, ...], world_root: Path, in_tmp_path: Path) -> None:
    main(["test", *arguments(world_root, *CLAP, *METRIC, *FEW, *more, config=f"{config}.yaml")])
    agree(Path(f"runs/{config}_refined/test-1"))


def test_a_stage_without_a_clap_refuses_to_do_without(
    world_root: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["test", *arguments(world_root, "--config", str(OVERLAYS / "own_clap.yaml"), "--export.load", "false")])
    assert ended.value.code == 2
    assert "expected a CLAP that chooses among the candidates" in capsys.readouterr().err
