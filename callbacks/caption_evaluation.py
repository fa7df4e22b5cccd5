"""Captions of test and predict: gathered from all ranks, written batch by batch, scored once."""

import csv
from pathlib import Path
from typing import Any, TextIO, TypeGuard

import lightning as L
import torch.distributed
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from rich.console import Console

from datamodules.clips import CaptionRows
from evaluation.captions_file import COLUMNS, FILE_NAME, csv_lines, empty_rows, write_captions
from evaluation.scores import captions_table, require_references, score_rows
from evaluation.word_scores import read_vocabulary


class CaptionEvaluation(L.Callback):
    """Writes and scores the `CaptionRows` that `test_step` and `predict_step` return.

    captions.csv in the run folder grows with every batch, so that a killed run loses little. At the end of test, rank 0
    scores the captions of all ranks together, each clip once. The scores go to the terminal, to scores.json and to the
    loggers (as test/cider_d ...), the captions to a W&B table as well. What the stage itself logged as `test/<name>`,
    such as metric A of audibility guidance, stands in scores.json beside them.
    Every rank must run the same number of batches; a filler batch returns empty lists. Steps that return anything else
    are ignored.

    Args:
        vocabulary: JSON file of event words and visual words (`evaluation.word_scores`); adds the scores by words.
        java: False leaves out METEOR, SPICE, SPIDEr and the PTB tokenizer even where Java is installed.
        shown: how many captions the terminal shows.
    """

    def __init__(self, vocabulary: Path | None = None, java: bool = True, shown: int = 5) -> None:
        self.vocabulary = None if vocabulary is None else read_vocabulary(vocabulary)
        self.java = java
        self.shown = shown
        self.rows = empty_rows()
        self.seen: set[str] = set()
        self.file: TextIO | None = None

    def _open(self, trainer: L.Trainer) -> None:
        self.rows, self.seen = empty_rows(), set()
        folder = run_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        self.file = open(folder / FILE_NAME, "w", newline="", encoding="utf-8")  # noqa: SIM115 (open until the end)
        csv.writer(self.file).writerow(COLUMNS)

    def _collect(self, trainer: L.Trainer, outputs: CaptionRows) -> None:
        """Append the batch of every rank to the file and to `self.rows`, on rank 0."""
        if trainer.is_global_zero and self.file is None:
            self._open(trainer)
        kept = {key: value for key, value in outputs.items() if key in CaptionRows.__required_keys__}  # no embeddings
        batches: list[CaptionRows] = gathered(trainer, kept)
        if self.file is None:
            return
        new = empty_rows()
        for batch in batches:
            for index, clip_id in enumerate(batch["clip_ids"]):
                if clip_id not in self.seen:  # a sampler may repeat clips to give all ranks as many
                    self.seen.add(clip_id)
                    _append(new, batch, index)
        csv.writer(self.file).writerows(csv_lines(new))
        self.file.flush()
        for index in range(len(new["clip_ids"])):
            _append(self.rows, new, index)

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, *args: Any, **kwargs: Any
    ) -> None:
        """Take the captions of a batch; a clip without references stops the test at once."""
        if are_captions(outputs):
            require_references(outputs)
            self._collect(trainer, outputs)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score once, on rank 0. No rank waits here for another: Java may outlast NCCL's patience."""
        if self.file is None:  # not rank 0, or no captions
            return
        self._close()
        folder = run_folder(trainer)
        scores = score_rows(self.rows, folder, self.vocabulary, self.java)
        numbers = {f"test/{name}": value for name, value in scores.values.items() if value is not None}
        scores.values.update(logged_by_stage(trainer))
        write_captions(folder / FILE_NAME, self.rows, scores.cider_d.tolist())
        scores_file = scores.write(folder)
        for logger in trainer.loggers:
            logger.log_metrics({**numbers, "test/num_clips": scores.num_clips}, step=trainer.global_step)
            logger.save()
            if isinstance(logger, WandbLogger):
                cells = list(csv_lines(self.rows))
                data = [[*line[:4], score] for line, score in zip(cells, scores.cider_d.tolist())]
                logger.log_table("test/captions", columns=list(COLUMNS), data=data)
        console = Console()
        console.print(captions_table(self.rows, self.shown, scores.cider_d))
        console.print(scores.table("scores"))
        console.print(f"written to {folder / FILE_NAME} and {scores_file}", soft_wrap=True, markup=False)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, *args: Any, **kwargs: Any
    ) -> None:
        """Take the captions of a batch."""
        if are_captions(outputs):
            self._collect(trainer, outputs)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show where the captions are, and the first few of them."""
        if self.file is not None:
            self._close()
            console = Console()
            console.print(captions_table(self.rows, self.shown))
            console.print(
                f"{len(self.rows['clip_ids'])} captions in {run_folder(trainer) / FILE_NAME}",
                soft_wrap=True,
                markup=False,
            )

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the file; the captions so far are in it."""
        self._close()


def logged_by_stage(trainer: L.Trainer) -> dict[str, float]:
    """What the stage logged as test/<name>, over all clips of all ranks."""
    found = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    return {name.removeprefix("test/"): float(value) for name, value in found.items()}


def gathered(trainer: L.Trainer, outputs: object) -> list[Any]:
    """The outputs of every rank, on rank 0, and only None elsewhere; all ranks must call this together."""
    if trainer.world_size == 1:
        return [outputs]
    batches: list[Any] = [None] * trainer.world_size
    torch.distributed.gather_object(outputs, batches if trainer.is_global_zero else None, dst=0)
    return batches


def are_captions(outputs: object) -> TypeGuard[CaptionRows]:
    """Whether a step returned `CaptionRows`."""
    return isinstance(outputs, dict) and CaptionRows.__required_keys__ <= outputs.keys()


def run_folder(trainer: L.Trainer) -> Path:
    """The CSV logger's folder, or the trainer's root folder where there is no such logger; for rank 0 only."""
    folders = [logger.log_dir for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    return Path(folders[0] if folders else trainer.default_root_dir)


def _append(rows: CaptionRows, source: CaptionRows, index: int) -> None:
    rows["clip_ids"].append(source["clip_ids"][index])
    rows["captions"].append(source["captions"][index])
    rows["references"].append(source["references"][index])
    rows["labels"].append(source["labels"][index])
