"""The callback inside real trainers: one process, two processes, a kill in the middle."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torch.utils.data import DataLoader

from callbacks.caption_evaluation import CaptionEvaluation
from callbacks.rank_sums import sum_of_ranks
from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation.captions_file import read_captions
from evaluation.scores import score_rows

VOCABULARY = {
    "events": {
        "bell": {"nouns": ["bell"], "verbs": ["rings"]},
        "dog": {"nouns": ["dog"], "verbs": ["barks"]},
    },
    "visual_words": ["red"],
}


class Captioner(L.LightningModule):
    """Captions clips by their number; a batch of None is a filler batch."""

    def __init__(self, rows: CaptionRows, look_at: Path | None = None) -> None:
        super().__init__()
        self.rows = rows
        self.look_at = look_at
        self.seen: list[int] = []

    def test_step(self, batch: list[int], batch_idx: int) -> CaptionRows:
        if self.look_at is not None and self.look_at.is_file():
            self.seen.append(len(read_captions(self.look_at)["clip_ids"]) if batch_idx else 0)
        batch = [index for index in batch if index >= 0]
        return CaptionRows(**{key: [column[index] for index in batch] for key, column in self.rows.items()})  # type: ignore[typeddict-item]

    predict_step = test_step


def loader(batches: list[list[int]]) -> DataLoader:
    return DataLoader(batches, batch_size=None, collate_fn=None)


class Loaders(L.LightningDataModule):
    """Each rank its own batches."""

    def __init__(self, batches: list[list[list[int]]]) -> None:
        super().__init__()
        self.batches = batches

    def test_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        return loader(self.batches[self.trainer.global_rank])

    predict_dataloader = test_dataloader


def trainer(folder: Path, callback: CaptionEvaluation, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=CSVLogger(folder, name="", version=""),
        default_root_dir=folder,
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        **options,
    )


def test_test_writes_scores_and_captions(
    tmp_path: Path, by_hand: CaptionRows, recorded: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = tmp_path / "vocabulary.json"
    vocabulary.write_text(json.dumps(VOCABULARY))
    callback = CaptionEvaluation(vocabulary=vocabulary, java=False, shown=2)
    trainer(tmp_path, callback).test(Captioner(by_hand), loader([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 1], [10, 11], [-1]]))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["num_clips"] == 12
    assert scores["tokenizer"] == "words"
    assert scores["cider_d"] == pytest.approx(recorded["corpus"]["cider_d"])
    assert scores["spider"] is None
    assert scores["not_computed"]["spider"].startswith("not computed: ")
    assert scores["recall"] == 1  # c01, c02, c11; c04 names a bell that does not sound
    assert scores["precision"] == pytest.approx(3 / 4)
    assert scores["visual_share"] == pytest.approx(1 / 12)
    with open(tmp_path / "captions.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["clip_id"] for line in lines] == by_hand["clip_ids"]
    assert [float(line["cider_d"]) for line in lines] == pytest.approx(recorded["per_clip"]["cider_d"], abs=1e-6)
    assert read_captions(tmp_path) == by_hand
    with open(tmp_path / "metrics.csv", newline="") as file:
        logged = list(csv.DictReader(file))[-1]
    assert float(logged["test/cider_d"]) == pytest.approx(recorded["corpus"]["cider_d"])
    assert float(logged["test/num_clips"]) == 12
    assert "test/spider" not in logged
    printed = capsys.readouterr().out
    for text in ("CIDEr-D", "1.794", "not computed", "12 clips", "A bell rings while"):
        assert text in printed


def test_what_the_stage_logs_stands_beside_the_scores(
    tmp_path: Path, by_hand: CaptionRows, capsys: pytest.CaptureFixture[str]
) -> None:
    class Measuring(Captioner):
        def test_step(self, batch: list[int], batch_idx: int) -> CaptionRows:
            self.log("test/audibility", float(batch_idx), batch_size=len(batch))
            return super().test_step(batch, batch_idx)

    trainer(tmp_path, CaptionEvaluation(java=False)).test(Measuring(by_hand), loader([[0, 1, 2], [3]]))
    assert json.loads((tmp_path / "scores.json").read_text())["audibility"] == pytest.approx(1 / 4)
    assert "│ A " in capsys.readouterr().out


def test_two_ranks_score_each_clip_once(tmp_path: Path, by_hand: CaptionRows, recorded: dict) -> None:
    # Clips 2 and 7 come to both ranks, 0 twice to one; the last batch of rank 1 is a filler.
    batches = [[[0, 2, 4], [6, 8, 0], [10, 7]], [[1, 3, 5], [2, 7, 9, 11], [-1]]]
    distributed = trainer(tmp_path, CaptionEvaluation(java=False), strategy="ddp_fork", devices=2)
    distributed.test(Captioner(by_hand), datamodule=Loaders(batches))
    rows = read_captions(tmp_path)
    assert sorted(rows["clip_ids"]) == by_hand["clip_ids"]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["num_clips"] == 12
    assert scores["cider_d"] == pytest.approx(recorded["corpus"]["cider_d"])
    assert scores["bleu_4"] == pytest.approx(recorded["corpus"]["bleu_4"])


class Counted(Loaders):
    """Says how many clips it has, and that each rank could not read some."""

    def __init__(self, batches: list[list[list[int]]], clips: int, broken: int = 0) -> None:
        super().__init__(batches)
        self.num_test_clips = lambda: clips
        self.num_broken_test_clips = lambda: broken


@pytest.mark.parametrize(("clips", "broken", "found"), [(12, 0, 12), (16, 2, 12), (13, 0, None), (14, 2, None)])
def test_as_many_clips_are_captioned_as_the_index_promises(
    clips: int, broken: int, found: int | None, tmp_path: Path, by_hand: CaptionRows
) -> None:
    """An id that two clips share, say, would count once. `broken` is of each of two ranks."""
    batches = [[[0, 2, 4], [6, 8, 10]], [[1, 3, 5], [7, 9, 11]]]
    tester = trainer(tmp_path, CaptionEvaluation(java=False, report_clips=None), strategy="ddp_fork", devices=2)
    if found is None:
        with pytest.raises(Exception, match=f"expected captions of {clips - 2 * broken} clips, .* found 12 ids"):
            tester.test(Captioner(by_hand), datamodule=Counted(batches, clips, broken))
        assert not (tmp_path / "scores.json").exists() and not (tmp_path / "captions.csv").exists()
    else:
        tester.test(Captioner(by_hand), datamodule=Counted(batches, clips, broken))
        assert json.loads((tmp_path / "scores.json").read_text())["num_clips"] == found


def test_a_limit_of_test_is_no_loss(tmp_path: Path, by_hand: CaptionRows) -> None:
    tester = trainer(tmp_path, CaptionEvaluation(java=False, report_clips=None), limit_test_batches=1)
    tester.test(Captioner(by_hand), datamodule=Counted([[[0, 1], [2]]], 3))
    assert len(read_captions(tmp_path)["clip_ids"]) == 2


def test_the_captions_file_is_sorted(tmp_path: Path, by_hand: CaptionRows) -> None:
    """So that it is the same on any number of ranks."""
    for command in ("test", "predict"):
        tester = trainer(tmp_path, CaptionEvaluation(java=False, report_clips=None))
        getattr(tester, command)(Captioner(by_hand), loader([[5, 2], [11, 0]]))
        assert read_captions(tmp_path)["clip_ids"] == ["c01", "c03", "c06", "c12"]


def test_predict_writes_without_references(
    tmp_path: Path, by_hand: CaptionRows, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = CaptionRows(**{**by_hand, "references": [[] for _ in by_hand["clip_ids"]]})  # type: ignore[typeddict-item]
    captioner = Captioner(rows, look_at=tmp_path / "captions.unfinished.csv")
    trainer(tmp_path, CaptionEvaluation()).predict(captioner, loader([[0, 1], [2, 3], [4]]))
    found = read_captions(tmp_path)
    assert found["clip_ids"] == by_hand["clip_ids"][:5]
    assert found["captions"] == by_hand["captions"][:5]
    assert not (tmp_path / "scores.json").exists()
    assert captioner.seen == [2, 4]  # what a kill would have left at each step after the first
    assert not (tmp_path / "captions.unfinished.csv").exists()
    assert "5 captions in" in capsys.readouterr().out


def test_brackets_in_captions_are_shown(
    tmp_path: Path, by_hand: CaptionRows, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand["captions"][0] = "[music] [/b]"
    trainer(tmp_path, CaptionEvaluation(java=False)).test(Captioner(by_hand), loader([[0, 1]]))
    assert "[music] [/b]" in capsys.readouterr().out


def without_references(rows: CaptionRows, numbers: set[int]) -> CaptionRows:
    """The same clips; these have no references."""
    references = [[] if number in numbers else group for number, group in enumerate(rows["references"])]
    return CaptionRows(**{**rows, "references": references})  # type: ignore[typeddict-item]


def only(rows: CaptionRows, numbers: list[int]) -> CaptionRows:
    return CaptionRows(**{key: [column[number] for number in numbers] for key, column in rows.items()})  # type: ignore[typeddict-item]


def test_clips_without_references_are_named_and_the_others_scored_as_if_alone(
    tmp_path: Path, by_hand: CaptionRows, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = {0, 3, 4, 9}
    rows = without_references(by_hand, bare)
    alone = score_rows(only(by_hand, [n for n in range(12) if n not in bare]), tmp_path, java=False)
    tester = trainer(tmp_path, CaptionEvaluation(java=False))
    tester.loggers = [*tester.loggers, recorder := Recorder()]
    tester.test(Captioner(rows), loader([[0, 1, 2], [3, 4], [5, 6, 7, 8, 9, 10, 11]]))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["num_clips"], scores["num_without_references"]) == (8, 4)
    assert {name: scores[name] for name in alone.values} == alone.values  # CIDEr-D's document frequencies, too
    assert scores["cider_d"] != pytest.approx(score_rows(by_hand, tmp_path, java=False).values["cider_d"])
    assert read_captions(tmp_path) == rows
    with open(tmp_path / "captions.csv", newline="") as file:
        by_clip = [line["cider_d"] for line in csv.DictReader(file)]
    assert [number for number, score in enumerate(by_clip) if score == ""] == sorted(bare)
    assert [float(score) for score in by_clip if score] == pytest.approx(alone.cider_d, abs=1e-6)
    assert len(recorder.tables["test/captions"]["data"]) == 12
    printed = capsys.readouterr().out
    assert "not scored: 4 of 12 clips, which have no references: c01, c04, c05 and 1 more\n" in printed
    assert "8 clips" in printed


def test_test_without_any_references_points_to_predict_and_keeps_the_captions(
    tmp_path: Path, by_hand: CaptionRows
) -> None:
    rows = without_references(by_hand, set(range(12)))
    with pytest.raises(InputError, match="found none for 3 clips such as 'c01'; use `predict`"):
        trainer(tmp_path, CaptionEvaluation(java=False)).test(Captioner(rows), loader([[0, 1], [2]]))
    assert read_captions(tmp_path)["captions"] == by_hand["captions"][:3]
    assert not (tmp_path / "scores.json").exists()


def test_test_of_nothing_is_an_input_error(tmp_path: Path, by_hand: CaptionRows) -> None:
    with pytest.raises(InputError, match="expected captions to score, found none"):
        trainer(tmp_path, CaptionEvaluation(java=False)).test(Captioner(by_hand), loader([[-1]]))


def test_wrong_vocabulary_stops_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        CaptionEvaluation(vocabulary=tmp_path / "none.json")


class Recorder(WandbLogger):
    """A W&B logger that keeps what it is given and starts nothing."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.tables: dict[str, dict[str, Any]] = {}

    experiment = None
    name = version = save_dir = None  # type: ignore[assignment]

    def log_hyperparams(self, params: Any) -> None: ...
    def log_graph(self, model: Any) -> None: ...
    def save(self) -> None: ...
    def finalize(self, status: str) -> None: ...
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.metrics.update(metrics)

    def log_table(self, key: str, **table: Any) -> None:  # type: ignore[override]
        self.tables[key] = table


def test_a_wandb_logger_gets_scores_and_a_table(tmp_path: Path, by_hand: CaptionRows) -> None:
    recorder = Recorder()
    tester = trainer(tmp_path, CaptionEvaluation(java=False))
    tester.loggers = [*tester.loggers, recorder]
    tester.test(Captioner(by_hand), loader([list(range(12))]))
    table = recorder.tables["test/captions"]
    assert table["columns"] == ["clip_id", "caption", "references", "labels", "cider_d"]
    assert len(table["data"]) == 12
    assert table["data"][0][:2] == ["c01", "A bell rings while rain falls."]
    assert table["data"][0][4] == pytest.approx(score_rows(by_hand, tmp_path, java=False).cider_d[0])
    assert recorder.metrics["test/cider_d"] > 1
    assert recorder.metrics["test/num_clips"] == 12


def test_numbers_of_ranks_are_added_on_their_device() -> None:
    """NCCL has nothing for the CPU. The device "meta" stands for a GPU."""
    seen: list[torch.device] = []

    def reduce(own: torch.Tensor, reduce_op: str) -> float:
        seen.append(own.device)
        return 3.0

    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta"), reduce=reduce))
    assert sum_of_ranks(trainer, 2) == 3 and seen == [torch.device("meta")]
