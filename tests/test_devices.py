"""Every stage on two and three processes is what it is on one: weights after some steps, scores, files."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import MINIATURE, REPOSITORY
from safetensors.torch import load_file

from datamodules.shards import read_index, records
from lightning_modules.networks.sequence_classifier import SequenceClassifier
from miniature import ensure_split
from train import main

CLIPS = "20"  # which two and three ranks divide unevenly into batches of 3
CAPTIONS = ("--evaluation.java", "false", "--evaluation.report_clips", "null")
STAGES = {
    "dali_ot": ("fit", "validate", "test", "predict"),
    "dali_ot + criterion/mmd": ("fit",),
    "dali_ot + refine/clap": ("fit", "test"),
    "distillation": ("fit", "test", "predict"),
    "llava_prefix": ("fit", "test", "predict"),
    "clap_prefix + strategy/noise_injection": ("fit", "validate", "test", "predict"),
    "clap_prefix + strategy/comet": ("fit", "test"),
    "clap_prefix + strategy/soft_prompt": ("fit",),
    "clap_prefix + strategy/hard_prompt": ("fit", "test"),
    "clap_prefix + refine/own_clap": ("fit", "test"),
    "drcap": ("fit", "validate", "test", "predict"),
    "audibility": ("fit", "validate", "test"),
    "guided": ("test", "predict"),
    "guided + refine/one_search": ("test",),
    "keywords": ("test", "predict"),
    "mils": ("test",),
    "audioset_filter": ("predict",),
}
WITHOUT_EXPORT = ("guided", "guided + refine/one_search", "keywords", "mils", "audioset_filter")
QUICK = ("dali_ot", "audibility")  # a stage of clips and one of sentences, on two processes


@pytest.fixture
def world(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the stages read, small, and the arguments that name it; no dropout, which draws for a whole batch."""
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    for split in (
        "audioset/train",
        "audioset/val",
        "audiocaps/train",
        "audiocaps/val",
        "audiocaps/test",
        "wavcaps/train",
    ):
        ensure_split(Path("data", f"first-{CLIPS}"), split, max_clips=int(CLIPS))
    sentences = Path("data/sentences")
    sentences.mkdir()
    things = [f"{a} {b}" for a in ("a dog", "a bell", "the cat", "some rain", "wind") for b in "pqrstuvw"]
    for name, end in (("audible", "is heard"), ("inaudible", "is red")):
        (sentences / f"{name}.txt").write_text("".join(f"{thing} {end}\n" for thing in things))
    with open("captions.csv", "w") as file:
        print("clip_id,caption", file=file)
        for number, record in enumerate(records(read_index(Path(f"data/first-{CLIPS}/audiocaps/train")))):
            print(f"{record['id']},a {('dog barks', 'bell rings while rain falls')[number % 2]}", file=file)
    judge = SequenceClassifier.from_scratch(["inaudible", "audible"], depth=1, width=32, num_heads=2, vocab_size=60)
    judge.use_tokenizer(judge.learn_tokenizer(["Audio of a bell rings and a dog barks on the grass that is red"]))
    judge.save_pretrained("exports/audibility")
    return ["--data.root", "data", "--trainer.accelerator", "cpu", "--data.eval_batch_size", "3"]


def arguments(stage: str, devices: int, command: str) -> list[str]:
    """Of a stage on so many processes; each has its share of a step of 12 at a time."""
    given = [word for name in stage.split(" + ") for word in ("--config", str(REPOSITORY / f"configs/{name}.yaml"))]
    if stage != "audibility":
        given += [*CAPTIONS, "--data.max_clips", CLIPS, "--data.num_workers", "1" if "dali" in stage else "0"]
    else:
        given += ["--model.classifier.init_args.width", "32", "--model.classifier.init_args.depth", "1"]
        given += ["--model.classifier.init_args.dropout", "0"]
    if (
        "dali" in stage or "clap" in stage or stage == "drcap"
    ):  # Adam makes steps of rounding errors where a gradient is 0, as of the biases of keys
        given += [
            "--model.optimizer",
            "torch.optim.SGD",
            "--model.optimizer.init_args.lr",
            "1e-4" if "dali" in stage else "0.1",
        ]
    if stage == "distillation":
        encoder = "--model.captioner.audio_encoder.init_args.pretrained_model_name_or_path"
        given += [encoder, str(MINIATURE / "cav_mae"), "--model.captioner.prefix", "assets/miniature/prefix"]
        given += ["--data.train", "audiocaps/train", "--data.captions", "captions.csv"]
    if "guided" in stage or stage == "keywords":
        given += ["--model.guidance.init_args.max_new_tokens", "3"]
    if "refine" in stage:
        given += ["--run_suffix", ""]  # the folder is the fit's
    if stage == "drcap":
        given += ["--model.num_beams", "1", "--model.max_new_tokens", "6", "--model.datastore", "audiocaps/val"]
    if stage == "llava_prefix":
        given += ["--data.num_pairs", "12", "--trainer.limit_val_batches", "0"]
    if command == "fit":
        given += ["--data.batch_size", str(12 // devices), "--data.global_batch_size", "12"]
        given += ["--trainer.max_steps", "2", "--trainer.log_every_n_steps", "1"]
    if devices > 1:
        given += ["--trainer.devices", str(devices), "--trainer.strategy", "ddp_fork"]
    return given


def numbers(folder: Path) -> dict[str, float]:
    """What a run logged of validation and test, and its scores; times and learning rates aside."""
    found: dict[str, float] = {}
    if (folder / "metrics.csv").exists():
        with open(folder / "metrics.csv", newline="") as file:
            logged = [pair for row in csv.DictReader(file) for pair in row.items()]
        found = {name: float(value) for name, value in logged if value and name.startswith(("val/", "test/"))}
    if (folder / "scores.json").exists():
        scores = json.loads((folder / "scores.json").read_text())
        found |= {f"score {name}": value for name, value in scores.items() if isinstance(value, int | float)}
    return found


def table(path: Path) -> list[dict[str, object]]:
    """What predict wrote, the numbers as numbers."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    return [
        {
            name: pytest.approx(float(cell), abs=1e-6) if name == "distance" and cell else cell
            for name, cell in row.items()
        }
        for row in rows
    ]


def compare(stage: str, world: list[str], some: tuple[int, ...]) -> None:
    for command in STAGES[stage]:
        for devices in (1, *some):
            name = f"on-{devices}"
            source = [] if command == "fit" or stage in WITHOUT_EXPORT else ["--export.source", "exports/on-1"]
            main([command, *arguments(stage, devices, command), *world, "--run_name", name, *source])
        for devices in some:
            one, several = (Path(f"runs/on-{number}/{command}-1") for number in (1, devices))
            assert {path.name for path in several.iterdir()} == {path.name for path in one.iterdir()}
            assert numbers(several) == pytest.approx(numbers(one), rel=1e-5 if command == "fit" else 1e-6), command
            assert numbers(one) or command in ("fit", "predict")
            if (one / "captions.csv").exists():
                assert (several / "captions.csv").read_bytes() == (one / "captions.csv").read_bytes()
            tables = list(Path("exports/on-1").glob("*.csv"))
            assert tables or stage != "audioset_filter"
            for path in tables:
                assert table(Path(f"exports/on-{devices}") / path.name) == table(path)
            if command == "fit":
                weights = [path for path in Path("exports/on-1").rglob("*.safetensors")]
                assert weights
                for path in weights:
                    other = load_file(Path(f"exports/on-{devices}") / path.relative_to("exports/on-1"))
                    for tensor, value in load_file(path).items():
                        torch.testing.assert_close(other[tensor], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stage", QUICK)
def test_two_processes_make_what_one_makes(stage: str, world: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, stage, ("fit", "test"))
    compare(stage, world, (2,))


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("stage", STAGES)
def test_two_and_three_processes_make_what_one_makes(stage: str, world: list[str]) -> None:
    compare(stage, world, (2, 3))
