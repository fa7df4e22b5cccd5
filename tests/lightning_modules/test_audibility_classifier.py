"""The classifier's stage through the real command, on a few sentences."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from lightning_modules.audibility_classifier import AudibilityClassifier
from lightning_modules.networks.sequence_classifier import SequenceClassifier
from train import main

CONFIG = REPOSITORY / "configs/audibility.yaml"


@pytest.fixture()
def sentences(in_tmp_path: Path) -> Path:
    """Told apart by one word each."""
    folder = in_tmp_path / "data/miniature/sentences"
    folder.mkdir(parents=True)
    things = [f"{a} {b}" for a in ("a dog", "a bell", "the cat", "some rain", "wind") for b in "pqrstuvw"]
    (folder / "audible.txt").write_text("".join(f"{thing} is heard\n" for thing in things))
    (folder / "inaudible.txt").write_text("".join(f"{thing} is red\n" for thing in things))
    return folder


def command(name: str, *more: str) -> None:
    main([
        name, "--config", str(CONFIG), "--trainer.accelerator", "cpu", "--data.batch_size", "8",
        "--model.classifier.init_args.width", "32", "--model.classifier.init_args.depth", "1", *more,
    ])  # fmt: skip


def test_fit_test_and_what_it_exports(sentences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("fit", "--trainer.max_epochs", "8", "--model.optimizer.init_args.lr", "0.01")
    command("test")
    run = Path("runs/audibility/test-1")
    assert (run / "confusion_matrix.png").read_bytes()[:4] == b"\x89PNG"
    with open(run / "metrics.csv") as file:
        row = next(csv.DictReader(file))
    # 6 of 40 sentences of each class, of all batches together
    assert float(row["test/accuracy"]) * 12 == pytest.approx(round(float(row["test/accuracy"]) * 12))
    assert float(row["test/auroc"]) >= 0.9 and {"test/f1", "test/loss"} <= row.keys()
    exported = Path("exports/audibility")
    assert json.loads((exported / "config.json").read_text())["id2label"] == {"0": "inaudible", "1": "audible"}
    model = AutoModelForSequenceClassification.from_pretrained(exported)
    judge = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(exported))
    assert [judge(f"Audio of a {text}")[0]["label"] for text in ("a dog p is heard", "a dog p is red")] == [
        "audible", "inaudible",
    ]  # fmt: skip
    command("test", "--ckpt_path", "best")  # the checkpoint holds the words, too
    with open("runs/audibility/test-2/metrics.csv") as file:
        assert next(csv.DictReader(file))["test/auroc"] == row["test/auroc"]


def test_two_ranks_learn_the_same_words_and_pool_their_scores(sentences: Path) -> None:
    """Batches of two sentences, most of them of one class, for which no AUROC of a batch exists."""
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp_fork")
    command("fit", "--trainer.max_epochs", "1", *two)
    for more in ((), two):
        command("test", "--data.eval_batch_size", "2", *more)
    rows = []
    for number in (1, 2):
        with open(f"runs/audibility/test-{number}/metrics.csv") as file:
            rows.append({key: float(value) for key, value in next(csv.DictReader(file)).items()})
    assert rows[0] == pytest.approx(rows[1], abs=1e-6) and 0 < rows[0]["test/auroc"] <= 1


def test_one_device_and_two_make_the_same_run(sentences: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A global batch of 16: four batches of one device, or two of each of two devices, without dropout, which draws."""
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    fit = ("--trainer.max_epochs", "2", "--data.batch_size", "4", "--model.classifier.init_args.dropout", "0")
    runs = {
        "one": ("--data.global_batch_size", "16"),
        "two": ("--data.global_batch_size", "16", "--trainer.devices", "2", "--trainer.strategy", "ddp_fork"),
        "other": (),  # of 4, as a control
    }
    exports = {}
    for name, more in runs.items():
        command("fit", *fit, *more, "--run_name", name)
        exports[name] = load_file(f"exports/{name}/model.safetensors")
    steps = {name: torch.load(f"runs/{name}/fit-1/checkpoints/last.ckpt")["global_step"] for name in runs}
    assert steps["one"] == steps["two"] == 2 * (60 // 16) and steps["other"] == 2 * (60 // 4)
    for name, weight in exports["one"].items():
        torch.testing.assert_close(weight, exports["two"][name], rtol=0, atol=1e-5)
    assert any((weight - exports["other"][name]).abs().max() > 1e-3 for name, weight in exports["one"].items())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--model.positive", "loud"), "expected a classifier with the label 'loud', found inaudible, audible"),
        (("--model.classifier.init_args.labels", "[audible, inaudible]"), "expected sentences of the classes audible,"),
    ],
)
def test_labels_that_do_not_agree(
    sentences: Path, more: tuple[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command("fit", *more)
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_an_empty_file_is_told(sentences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sentences / "audible.txt").write_text("\n")
    with pytest.raises(SystemExit) as ended:
        command("fit")
    assert ended.value.code == 2 and "expected one sentence a line in" in capsys.readouterr().err


def test_an_export_with_the_classes_the_other_way_round(sentences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = SequenceClassifier.from_scratch(["audible", "inaudible"], depth=1, width=32, num_heads=2, vocab_size=60)
    made.use_tokenizer(made.learn_tokenizer(["Audio of a dog is heard"]))
    made.save_pretrained("exports/turned")
    with pytest.raises(SystemExit) as ended:
        command("test", "--export.source", "exports/turned")
    assert ended.value.code == 2 and "found audible, inaudible; give" in capsys.readouterr().err


def test_predict_is_told(sentences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command("predict", "--export.load", "false")
    assert ended.value.code == 2
    assert "expected fit or validate or test, which AudibilityClassifier does" in capsys.readouterr().err


def test_class_defaults_are_the_papers() -> None:
    """AdamW at 3e-4, divided by ten every ten of 40 epochs, batches of 64."""
    stage = AudibilityClassifier(SequenceClassifier.from_scratch(["inaudible", "audible"], vocab_size=20))
    configured = stage.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert rates == pytest.approx([3e-4] * 10 + [3e-5] * 10 + [3e-6] * 10 + [3e-7] * 10)
    paper = yaml.safe_load((REPOSITORY / "configs/paper/audibility_classifier.yaml").read_text())
    assert paper["data"]["init_args"]["global_batch_size"] == 64
    assert paper["trainer"]["max_epochs"] == 40 and paper["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 3e-4


def test_sentences_of_unknown_signs_are_refused(sentences: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = SequenceClassifier.from_scratch(["inaudible", "audible"], depth=1, width=32, num_heads=2, vocab_size=60)
    made.use_tokenizer(made.learn_tokenizer(["Audio of a dog is heard"]))
    made.save_pretrained("exports/dogs")
    for name in ("audible", "inaudible"):
        first = {"audible": 0x3B1, "inaudible": 0x431}[name]  # Greek and Cyrillic letters
        lines = (f"{chr(first + i % 20) * (3 + i // 20)} {chr(first) * 8}\n" for i in range(40))
        (sentences / f"{name}.txt").write_text("".join(lines))
    kind = "lightning_modules.networks.sequence_classifier.SequenceClassifier.from_pretrained"
    with pytest.raises(SystemExit) as ended:
        main([
            "fit", "--config", str(CONFIG), "--trainer.accelerator", "cpu", "--model.classifier.class_path", kind,
            "--model.classifier.init_args.pretrained_model_name_or_path", "exports/dogs",
            "--data.batch_size", "8",
        ])  # fmt: skip
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "% unknown words, such as" in error and "configs/paper/audibility_classifier.yaml for DistilBERT" in error
