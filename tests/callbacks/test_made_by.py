"""What a test notes beside its scores, by the real command and by hand."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from conftest import arguments

from callbacks.export import Export
from callbacks.made_by import made_by
from tests.toys import ExportingStage
from train import main


class Stage(L.LightningModule):
    """That says what its matcher was trained on."""

    def captions_made_by(self) -> dict[str, Any]:
        return {"weights": "abc", "trained_on": ["json_files/AudioCaps/train.json", "json_files/WavCaps/all.json"]}


def trainer(split: str | None, *callbacks: L.Callback) -> Any:
    data = SimpleNamespace(test=split)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(
        datamodule=data,
        strategy=strategy,
        ckpt_path=None,
        callbacks=[*callbacks],
        state=SimpleNamespace(fn="test"),
        precision="32-true",
        world_size=1,
        default_root_dir="none",
    )


def test_a_model_that_was_trained_on_the_tested_corpus_is_flagged() -> None:
    found = made_by(trainer("audiocaps/test"), Stage(), [str(i) for i in range(957)])
    assert found["clips"]["missing"] == 18 and found["clips"]["version"] == "WavCaps' copy"
    assert "trained on json_files/AudioCaps/train.json: AudioCaps's scores are not" in found["warning"]
    assert found["captions"] == {"weights": "abc"} and len(found["trained_on"]) == 2
    other = made_by(trainer("clotho/test"), Stage(), ["a"])
    assert "warning" not in other and other["clips"]["missing"] == 1044
    assert made_by(trainer(None), L.LightningModule(), ["a"])["captions"] == {}


def test_a_table_is_no_weights_of_a_stage_without(tmp_path: Path) -> None:
    """That of `predict`, which has a note of its own; the one beside it is of weights."""
    (tmp_path / "provenance.json").write_text('{"run_folder": "runs/a/fit-1"}')
    export = Export("", root=str(tmp_path))
    assert made_by(trainer(None, export), Stage(), ["a"])["weights"] == {}
    learnt = made_by(trainer(None, export), ExportingStage(), ["a"])
    assert learnt["weights"] == {"export": str(tmp_path), "run_folder": "runs/a/fit-1"}
    assert list(learnt["made_from"]) == [str(tmp_path)]


def test_the_digest_is_of_the_ids_whatever_their_order() -> None:
    one, same, less = (made_by(trainer("x"), Stage(), ids)["clips"]["digest"] for ids in ("abc", "cba", "ab"))
    assert one == same == hashlib.sha256(b"a\nb\nc").hexdigest()[:16] != less


def test_a_test_writes_where_its_scores_come_from(
    in_tmp_path: Path, world_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fit's note on the export, the prompt, the digests; and `earshot score` adds to it."""
    short = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "1")
    main(["fit", *arguments(world_root, *short)])
    more = ("--seed_everything", "7")
    main(["test", *arguments(world_root, *more)])
    path = Path("runs/dali_ot/test-1/scores.json")
    scores = json.loads(path.read_text())
    note = scores["made_by"]
    assert scores["num_clips"] == note["clips"]["number"] == 40
    assert note["clips"]["split"].endswith("audiocaps/test") and note["clips"]["synthetic"] is True
    assert "listed" not in note["clips"]  # the miniature is only called like AudioCaps
    assert note["captions"]["question"] == "What sound can be heard in this scene ?"
    assert note["captions"]["generation"]["max_new_tokens"] == 64 and note["captions"]["llava"][1]
    assert note["weights"]["export"] == "exports/dali_ot" and note["weights"]["run_folder"].endswith("dali_ot/fit-1")
    assert note["seed"] == "7" and note["precision"] == "32-true" and "threads a process" in note["hardware"]
    assert {"Python", "torch", "transformers", "lightning", "aac-metrics", "earshot"} <= note["versions"].keys()

    from evaluation.__main__ import main as score

    score([str(path.parent), "--no-java"])
    again = json.loads(path.read_text())
    assert again["cider_d"] == scores["cider_d"]
    assert again["made_by"].pop("scored_again_by")["versions"] and again["made_by"] == note

    from reports.__main__ import main as report

    report(["compare", "ours=runs/dali_ot", "--no-java", "--samples", "20", "--output", "runs/report.md"])
    page = Path("runs/report.md").read_text()
    assert f"clip ids: {note['clips']['split']}, digest {note['clips']['digest']}" in page
    assert f"captioned on: {note['hardware']}, 32-true" in page
    assert page.count("made_by") == 1 and len(page.splitlines()) < 30
