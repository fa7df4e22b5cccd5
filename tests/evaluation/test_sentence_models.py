"""FENSE and its parts against aac-metrics itself, on hand-made captions and small random models."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, arguments

from datamodules.clips import CaptionRows
from evaluation import caption_metrics
from evaluation.__main__ import main
from evaluation.caption_metrics import measure
from evaluation.captions_file import read_captions, write_captions
from evaluation.metric import NotComputed
from evaluation.sentence_models import FLUENCY, SENTENCES, FluencyErrors, SentenceSimilarity, named_models
from evaluation.tokens import tokenize
from train import main as train_main

aac = pytest.importorskip("aac_metrics.functional")
made = pytest.importorskip("made_sentence_models")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    import torch

    torch.manual_seed(3)
    root = tmp_path_factory.mktemp("models")
    return str(made.sentence_encoder(root / "sentences")), str(made.fluency_classifier(root / "fluency"))


def theirs(
    rows: CaptionRows, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """What aac-metrics computes of the tokenized captions, with its own reader of FENSE's file."""
    sentences, fluency = map(Path, folders)
    (fluency / "echecker_clotho_audiocaps_base.ckpt").write_bytes((fluency / "echecker.ckpt").read_bytes())
    monkeypatch.setenv("FENSE_DATA", str(fluency))  # where it would have downloaded it to
    captions = [" ".join(tokens) for tokens in tokenize(rows["captions"], java=False)[0]]
    references = [[" ".join(t) for t in tokenize(group, java=False)[0]] for group in rows["references"]]
    corpus, clips = aac.fense(captions, references, sbert_model=str(sentences), device="cpu", batch_size=5)
    (fluency / "echecker_clotho_audiocaps_base.ckpt").unlink()
    vocabulary = aac.vocab(captions, references)[0]["vocab.cands"]
    return (
        {name: float(value) for name, value in corpus.items()} | {"vocabulary": float(vocabulary)},
        {name: value.numpy() for name, value in clips.items()},
    )


def test_agrees_with_aac_metrics(
    tmp_path: Path, by_hand: CaptionRows, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, clips = theirs(by_hand, folders, monkeypatch)
    assert 0 < corpus["fer"] < 1 and len(set(np.round(clips["sbert_sim"], 6))) > 6  # the models tell captions apart
    models = named_models(f"sbert_sim={folders[0]},fer={folders[1]}")
    metrics = measure([by_hand["captions"]], by_hand["references"], tmp_path, java=False, models=models).metrics
    for name in ("sbert_sim", "fer", "fense"):
        np.testing.assert_allclose(metrics[name].per_clip[0], clips[name], atol=1e-6, err_msg=name)
        assert metrics[name].scores[0] == pytest.approx(corpus[name], abs=1e-6), name
    assert metrics["vocabulary"].scores[0] == corpus["vocabulary"]


def test_spider_fl_is_spider_less_its_errors(
    tmp_path: Path, by_hand: CaptionRows, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """aac-metrics' own combination, of a SPICE that stands in for Java's."""
    import torch
    from aac_metrics.functional.spider_fl import _spider_fl_from_outputs

    spice = np.linspace(0, 1, 12)
    monkeypatch.setattr(caption_metrics, "spice", lambda *_: spice)
    monkeypatch.setattr(caption_metrics.java_metrics, "meteor_statistics", lambda texts, _: np.ones((len(texts), 23)))
    monkeypatch.setattr(caption_metrics, "tokenize", lambda sentences, java: tokenize(sentences, java=False))
    metrics = measure(
        [by_hand["captions"]], by_hand["references"], tmp_path, models=[FluencyErrors(folders[1])]
    ).metrics
    parts = {"spider": (spice + metrics["cider_d"].per_clip[0]) / 2, "fer": metrics["fer"].per_clip[0]}
    outputs = [({}, {name: torch.tensor(scores)}) for name, scores in parts.items()]
    corpus, clips = _spider_fl_from_outputs(*outputs)  # type: ignore[arg-type]
    np.testing.assert_allclose(metrics["spider_fl"].per_clip[0], clips["spider_fl"].numpy(), rtol=1e-12)
    assert metrics["spider_fl"].scores[0] == pytest.approx(float(corpus["spider_fl"]))
    assert "fense" not in metrics


def test_the_command_writes_them_with_intervals_and_says_what_lacks(
    tmp_path: Path, by_hand: CaptionRows, folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_captions(tmp_path / "mine.csv", by_hand)
    main([str(tmp_path / "mine.csv"), "--no-java", "--metrics", f"sbert_sim={folders[0]},fer={folders[1]}"])
    scores = json.loads((tmp_path / "mine.scores.json").read_text())
    for name in ("sbert_sim", "fer", "fense"):
        low, high = scores["intervals"][name]
        assert low <= scores[name] <= high
    assert scores["spider_fl"] is None and "Java was left out" in scores["not_computed"]["spider_fl"]
    with open(tmp_path / "mine.scores.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    fense = np.array([float(line["sbert_sim"]) * (1 - 0.9 * float(line["fer"])) for line in lines])
    np.testing.assert_allclose([float(line["fense"]) for line in lines], fense, rtol=1e-12)
    assert scores["models"] == dict(zip(("sbert_sim", "fer"), folders))
    assert "FENSE" in capsys.readouterr().out
    main([str(tmp_path / "mine.csv"), "--no-java"])  # once more, without the models: what they found stays
    again = json.loads((tmp_path / "mine.scores.json").read_text())
    for key in ("fense", "models", "intervals", "not_computed"):
        assert again[key] == scores[key], key
    with open(tmp_path / "mine.scores.csv", newline="") as file:
        assert {line["clip_id"]: line for line in csv.DictReader(file)} == {line["clip_id"]: line for line in lines}


def test_a_model_that_cannot_be_had_is_not_computed(
    tmp_path: Path, by_hand: CaptionRows, recorded: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network, as here, the usual models are not there; all else is scored."""
    write_captions(tmp_path / "mine.csv", by_hand)
    main([str(tmp_path / "mine.csv"), "--no-java", "--metrics", "sbert_sim"])
    scores = json.loads((tmp_path / "mine.scores.json").read_text())
    assert scores["cider_d"] == pytest.approx(recorded["corpus"]["cider_d"])
    assert scores["sbert_sim"] is None
    assert "name a folder: --metrics sbert_sim=FOLDER" in scores["not_computed"]["sbert_sim"]


def test_without_aac_metrics_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, folders: tuple[str, str]) -> None:
    monkeypatch.setitem(sys.modules, "aac_metrics.functional", None)
    with pytest.raises(NotComputed, match=r"it needs aac_metrics.functional; .* install 'earshot\[metrics\]'"):
        SentenceSimilarity(folders[0]).per_clip(["a dog"], [["a dog"]])


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("bleu", "found 'bleu'"),
        ("fense=models", "found 'fense=models'"),
        ("sbert_sim=./nowhere", "found no such folder; correct it\n"),
        ("fer=./nowhere", "or a folder with one .ckpt file, found './nowhere'"),
    ],
)
def test_wrong_names_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], names: str, found: str) -> None:
    (tmp_path / "mine.csv").write_text('clip_id,caption,references\na,a dog,"[""a dog""]"\n')
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "mine.csv"), "--no-java", "--metrics", names])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and found in error


def test_names_stand_for_their_parts() -> None:
    made_of = {names: [model.name for model in named_models(names)] for names in ("", "fense", "spider_fl,fense")}
    assert made_of == {"": [], "fense": ["sbert_sim", "fer"], "spider_fl,fense": ["fer", "sbert_sim"]}


def test_nothing_is_imported_before_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text('clip_id,caption,references\na,a dog,"[""a dog""]"\nb,rain,"[""rain falls""]"\n')
    program = (
        "import sys; from evaluation.__main__ import main\n"
        f"main([{str(tmp_path / 'mine.csv')!r}, '--no-java'])\n"
        "print(*sorted({'aac_metrics', 'sentence_transformers', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"


def test_a_test_is_scored_by_the_models_of_its_yaml(
    in_tmp_path: Path, world_root: Path, folders: tuple[str, str]
) -> None:
    overlay = (REPOSITORY / "configs" / "metrics" / "fense.yaml").read_text()
    for usual, own in zip((SENTENCES, FLUENCY[0]), folders):
        overlay = overlay.replace(f"model: {usual}\n", f"model: {own}\n")
    Path("fense.yaml").write_text(overlay)
    more = ["--config", "fense.yaml", "--export.load", "false", "--trainer.limit_test_batches", "1"]
    train_main(["test", *arguments(world_root, *more)])
    run = Path("runs/dali_ot/test-1")
    scores, rows = json.loads((run / "scores.json").read_text()), read_captions(run)
    models = [SentenceSimilarity(folders[0]), FluencyErrors(folders[1])]
    alone = measure([rows["captions"]], rows["references"], run, java=False, models=models).metrics
    for name in ("sbert_sim", "fer", "fense"):
        assert scores[name] == pytest.approx(alone[name].scores[0], abs=1e-6)


@pytest.mark.gpu
def test_the_gpu_computes_what_the_cpu_does(
    by_hand: CaptionRows, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    models = [SentenceSimilarity(folders[0]), FluencyErrors(folders[1])]
    found = []
    for _ in range(2):
        found.append([model.per_clip(by_hand["captions"], by_hand["references"]) for model in models])
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for there, here in zip(*found):
        np.testing.assert_allclose(there, here, atol=1e-4)
