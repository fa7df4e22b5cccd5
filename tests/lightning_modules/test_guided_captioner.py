"""Guided captioning through the real command, on a few clips of the miniature."""

import csv
import inspect
import json
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY

from evaluation.captions_file import read_captions
from evaluation.scores import score_rows
from lightning_modules.decoding.audibility import AudibilityGuidance
from lightning_modules.decoding.keywords import KeywordDecoding
from lightning_modules.decoding.prompt import PROMPT
from lightning_modules.networks.sequence_classifier import SequenceClassifier
from train import main

LABELS = ["inaudible", "audible"]


@pytest.fixture()
def classifier(in_tmp_path: Path) -> str:
    torch.manual_seed(0)
    made = SequenceClassifier.from_scratch(LABELS, depth=1, width=32, num_heads=2, vocab_size=60)
    made.use_tokenizer(made.learn_tokenizer(["Audio of a bell rings and a dog barks on the grass that is red"]))
    made.save_pretrained(in_tmp_path / "exports/audibility")
    return "exports/audibility"


def command(name: str, config: str, world_root: Path, *more: str) -> None:
    main([
        name, "--config", str(REPOSITORY / f"configs/{config}.yaml"), "--data.root", str(world_root),
        "--data.max_clips", "40", "--data.num_workers", "0", "--trainer.accelerator", "cpu", "--evaluation.java",
        "false", *more,
    ])  # fmt: skip


def test_guided(classifier: str, world_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("test", "guided", world_root, "--model.guidance.init_args.max_new_tokens", "4")
    said = capsys.readouterr().out
    assert "│ A " in said and "test/audibility" not in said  # once, without Lightning's table
    scores = json.loads(Path("runs/guided/test-1/scores.json").read_text())
    rows = read_captions(Path("runs/guided/test-1"))
    judge = SequenceClassifier.from_pretrained(classifier).eval()
    with torch.no_grad():  # metric A is of the captions with the prompt, which the scored captions have not
        expected = judge.probability([f"{PROMPT} {caption}" for caption in rows["captions"]], "audible").mean()
    assert scores["audibility"] == pytest.approx(float(expected), abs=1e-6) and scores["num_clips"] == 40
    assert not any(caption.lower().startswith("audio") for caption in rows["captions"])
    with open("runs/guided/test-1/captions.csv") as file:
        by_clip = [float(row["cider_d"]) for row in csv.DictReader(file)]
    assert scores["cider_d"] == pytest.approx(sum(by_clip) / 40, abs=1e-5)
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp_fork", "--data.eval_batch_size", "7")
    command("test", "guided", world_root, "--model.guidance.init_args.max_new_tokens", "4", *two)
    again = read_captions(Path("runs/guided/test-2"))
    assert dict(zip(again["clip_ids"], again["captions"])) == dict(zip(rows["clip_ids"], rows["captions"]))
    pooled = json.loads(Path("runs/guided/test-2/scores.json").read_text())
    assert pooled["audibility"] == pytest.approx(scores["audibility"], abs=1e-6)
    mixed = ("--trainer.precision", "bf16-mixed", "--model.guidance.init_args.max_new_tokens", "4")
    command("test", "guided", world_root, *mixed)  # cosines and gradient steps in float32 all the same
    assert read_captions(Path("runs/guided/test-3"))["captions"] == rows["captions"]
    command("predict", "guided", world_root, "--model.guidance.init_args.max_new_tokens", "2")
    assert len(read_captions(Path("runs/guided/predict-1"))["captions"]) == 40


def test_the_authors_protocol(classifier: str, world_root: Path) -> None:
    """The same captions behind their prompt, one reference of five, and metric A as without."""
    short = ("--model.guidance.init_args.max_new_tokens", "4", "--data.max_clips", "40")
    command("test", "guided", world_root, *short)
    overlay = str(REPOSITORY / "configs/authors/guided_scores.yaml")
    command("test", "guided", world_root, "--config", overlay, *short)
    plain, theirs = (Path(f"runs/{name}/test-1") for name in ("guided", "guided_authors_scores"))
    rows, kept = read_captions(plain), read_captions(theirs)
    assert kept["captions"] == [f"{PROMPT} {caption}".strip() for caption in rows["captions"]]
    assert kept["references"] == [texts[-1:] for texts in rows["references"]]
    before, after = (json.loads((folder / "scores.json").read_text()) for folder in (plain, theirs))
    assert after["audibility"] == pytest.approx(before["audibility"], abs=1e-6)
    scored = score_rows(kept, Path(), java=False)
    assert after["cider_d"] == pytest.approx(scored.values["cider_d"]) and after["cider_d"] != before["cider_d"]
    assert after["made_by"]["captions"] != before["made_by"]["captions"]


def test_keywords(classifier: str, world_root: Path) -> None:
    command("test", "keywords", world_root, "--model.classifier", classifier)
    scores = json.loads(Path("runs/keywords/test-1/scores.json").read_text())
    assert scores["recall"] > 0.4  # a guess: 0.15
    assert 0 < scores["audibility"] < 1
    assert not any("objects" in caption for caption in read_captions(Path("runs/keywords/test-1"))["captions"])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            ("--model.classifier", "exports/none"),
            "expected a classifier of sentences in exports/none, found no such folder",
        ),
        (("--model.positive", "loud"), "expected a classifier with the label 'loud', found inaudible, audible"),
        (("--model.classifier", "null"), "expected a classifier for a lambda_2 that is not 0"),
        (("--model.language_model", "nothing/here"), "expected a causal language model in 'nothing/here'"),
    ],
)
def test_what_is_missing_is_told(
    classifier: str, world_root: Path, more: tuple[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command("test", "guided", world_root, *more)
    assert ended.value.code == 2 and told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fit", "validate"])
def test_it_has_no_fit(name: str, classifier: str, world_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(name, "guided", world_root)
    assert ended.value.code == 2
    assert f"expected test or predict, which GuidedCaptioner does, found {name}" in capsys.readouterr().err


def test_one_prompt(classifier: str, world_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier of other beginnings is refused; without a guidance's own prompt its own is metric A's."""
    made = SequenceClassifier.from_pretrained(classifier)
    made.model.config.audibility_prompt = "Sound of a"
    made.save_pretrained("exports/other")
    with pytest.raises(SystemExit):
        command("test", "guided", world_root, "--model.classifier", "exports/other")
    assert "texts that begin with 'Audio of a', as guidance's do, found one of 'Sound of a'" in capsys.readouterr().err
    command("test", "keywords", world_root, "--model.classifier", "exports/other", "--data.max_clips", "5")
    rows = read_captions(Path("runs/keywords/test-1"))
    with torch.no_grad():
        expected = made.eval().probability([f"Sound of a {caption}" for caption in rows["captions"]], "audible").mean()
    scores = json.loads(Path("runs/keywords/test-1/scores.json").read_text())
    assert scores["audibility"] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("config", "paper", "shown"),
    [
        ("guided", "guided_captioner", "gpt2-medium"),
        ("keywords", "keywords", "facebook/opt-1.3b"),
        ("audibility", "audibility_classifier", "distilbert-base-uncased"),
    ],
)
def test_paper_overlays_parse(config: str, paper: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = (REPOSITORY / "configs" / f"{name}.yaml" for name in (config, f"paper/{paper}"))
    with pytest.raises(SystemExit) as ended:
        main(["test", *(argument for file in files for argument in ("--config", str(file))), "--print_config"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and shown in printed and "assets/miniature/gpt2" not in printed


def test_paper_overlays_give_the_defaults_back() -> None:
    def given(name: str, part: str) -> dict:
        return yaml.safe_load((REPOSITORY / f"configs/paper/{name}.yaml").read_text())["model"]["init_args"][part]

    guided = given("guided_captioner", "guidance")["init_args"]
    default = AudibilityGuidance()
    assert {name: getattr(default, name) for name in guided} == guided
    keywords = given("keywords", "guidance")["init_args"]
    others = inspect.signature(KeywordDecoding).parameters
    assert {name: others[name].default for name in keywords if name != "bank"} == {
        name: value for name, value in keywords.items() if name != "bank"
    }
    assert given("audibility_classifier", "optimizer")["init_args"] == {"lr": 3e-4}
    assert given("audibility_classifier", "lr_scheduler")["init_args"] == {"step_size": 10, "gamma": 0.1}
