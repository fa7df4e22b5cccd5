"""A table with a row for each clip that grows as `predict` runs on all ranks, and is resumed after a kill."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from callbacks.caption_evaluation import CaptionEvaluation, are_captions
from callbacks.costs import costs_of
from callbacks.export import NOTES, Export, settings_of
from callbacks.lineage import MADE_FROM, PROVENANCE, made_from
from callbacks.rank_sums import sum_of_ranks
from callbacks.wandb_logger import WandbLogger
from datamodules.contracts import CaptioningStage, ExportingStage, PredictSource, datamodule_of, expect
from earshot.atomic import atomic_path, write_text
from earshot.errors import InputError
from earshot.provenance import provenance
from evaluation.captions_file import Clip, clips_of

Row = dict[str, Any]  # a cell for each column; clip_id is the first


class PredictTable(L.Callback):
    """Write what a stage predicts of each clip in the predict split to a CSV in exports/<run_name>/.

    The stage's `predict_step` returns `CaptionRows`, whose caption, references and labels become columns, or a list of
    NamedTuples that begin with the clip_id, whose fields do. Lists are written as JSON.

    Each rank appends one line per clip to its own file in exports/<run_name>/parts-<digest>/, and syncs it to disk
    before the next batch begins. The same command skips the clips that are there already. The digest covers everything
    that decides the rows (weights, prefix, question, decoding, split, precision): when any of it changes, prediction
    starts from the beginning. The table itself is written once all clips are there, sorted by clip id.

    Args:
        file_name: of the table.
    """

    def __init__(self, file_name: str = "captions.csv") -> None:
        self.file_name = file_name
        self.folder = Path()
        self.parts = Path()
        self.started_from: list[Path] = []
        self.file: TextIO | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before any clip is read, find those that have a row and have the datamodule leave them out."""
        if stage != "predict":
            return
        export = next(callback for callback in vars(trainer)["callbacks"] if isinstance(callback, Export))
        self.folder = export.folder
        self.started_from = export.starts_from(trainer, pl_module)
        self.made_by = trainer.strategy.broadcast(made_by(trainer, pl_module, export, self.file_name))
        self.parts = self.folder / f"parts-{self.made_by}"
        done = dict(written(self.parts))
        datamodule_of(trainer, PredictSource).leave_out(done)
        if trainer.is_global_zero:
            rows = map(json.loads, done.values())
            earlier = [Clip(**row) for row in rows if row.keys() == set(Clip._fields)]
            for callback in vars(trainer)["callbacks"]:
                if isinstance(callback, CaptionEvaluation):  # whose captions.csv in the run folder has all, too
                    callback.earlier = earlier
        if done:
            rank_zero_info(f"{self.parts}/ has {len(done)} clips already")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the file of this rank, and cut off a line that a killed run left unfinished."""
        self.parts.mkdir(parents=True, exist_ok=True)
        path = self.parts / f"rank-{trainer.global_rank}.jsonl"
        with open(path, "ab") as file:
            file.truncate(sum(map(len, whole_lines(path))))
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (open until the end)

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: object, *args: Any) -> None:
        """Append the batch."""
        assert self.file is not None
        self.file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(outputs))
        self.file.flush()
        os.fsync(self.file.fileno())

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Once all ranks are done, rank 0 writes the table."""
        self._close()
        data = datamodule_of(trainer, PredictSource)
        broken = round(sum_of_ranks(trainer, data.num_broken_clips()))
        trainer.strategy.barrier("predicted")
        if not trainer.is_global_zero:
            return
        found = dict(written(self.parts))
        clips = data.num_predict_clips() - broken
        if len(found) < clips or not found:  # a limit was set, or no clip could be read
            rank_zero_info(f"{self.parts}/ has {len(found)} of {clips} clips; the table waits for all")
            return
        if len(found) > clips:
            raise InputError(
                f"expected {clips} clips in {self.parts}/, found {len(found)}; remove the folder to predict anew"
            )
        write_rows(self.folder / self.file_name, (json.loads(found[clip_id]) for clip_id in sorted(found)))
        read = made_from(settings_of(Path(trainer.default_root_dir)), *self.started_from)
        origin = {
            "made_by": self.made_by,
            "precision": str(trainer.precision),
            "run_folder": trainer.default_root_dir,
            **({MADE_FROM: read} if read else {}),
            **costs_of(trainer),
            **provenance(),
        }
        write_text(self.folder / PROVENANCE, json.dumps(origin, indent=2) + "\n")
        for other in self.folder.glob("parts-*"):
            if other != self.parts:  # of an earlier table
                shutil.rmtree(other)
        rank_zero_info(f"{self.folder / self.file_name} has {clips} clips")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_export(self.folder, "dataset", origin)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the file; what was predicted is on disk."""
        self._close()

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def made_by(trainer: L.Trainer, stage: L.LightningModule, export: Export, file_name: str) -> str:
    """A short digest of everything that decides the rows, weights that are loaded later included.

    The rows themselves, which may be written beside the weights, decide nothing.

    Raises:
        InputError: the stage or the datamodule does not say what decides its rows.
    """
    loaded: list[Path] = []
    if trainer.ckpt_path:
        loaded = [Path(trainer.ckpt_path)]
    elif export.load and isinstance(stage, ExportingStage):
        files = (path for path in sorted(export.source.rglob("*")) if path.is_file())
        beside = (*NOTES, file_name)
        loaded = [path for path in files if path.name not in beside and not path.parent.name.startswith("parts-")]
    digest = hashlib.sha256()
    for part in (
        "rows as objects",  # the form of the lines: those of another form are not read
        expect(CaptioningStage, stage, "the stage whose rows callbacks.predict_table writes").captions_made_by(),
        datamodule_of(trainer, PredictSource).predict_digest(),
        str(trainer.precision),
    ):
        digest.update(json.dumps(part, sort_keys=True).encode())
    for path in loaded:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their breaks, but for the unfinished one that a killed run may leave at the end."""
    with open(path, "rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The clip id and the JSON line of each row that the ranks have written; as objects, 2 million take gigabytes.

    Raises:
        InputError: a line is no such row.
    """
    for path in sorted(folder.glob("rank-*.jsonl")):
        for line in whole_lines(path):
            try:
                clip_id = json.loads(line)["clip_id"]
                if not isinstance(clip_id, str):
                    raise TypeError
            except (ValueError, TypeError, LookupError):
                raise InputError(
                    f"expected a row with a clip_id in each line of {path}, found {line[:60]!r}; remove {folder}/ to "
                    "predict anew, or that line"
                ) from None
            yield clip_id, line


def rows_of(outputs: Any) -> list[Row]:
    """What a predict step returned, one by one."""
    return [row._asdict() for row in (clips_of(outputs) if are_captions(outputs) else outputs)]


def write_rows(path: Path, rows: Iterator[Row]) -> None:
    """Write rows, of which there is one, as a CSV, atomically; None is an empty cell.

    Raises:
        InputError: a row has other columns than the first.
    """
    first = next(rows)
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        for row in chain([first], rows):
            if row.keys() != first.keys():
                raise InputError(
                    f"expected the columns {', '.join(first)} in each row, found {', '.join(row)} for "
                    f"{row.get('clip_id')!r}; remove the folder parts-... beside {path} to predict anew"
                )
            writer.writerow({name: cell_of(value) for name, value in row.items()})


def cell_of(value: Any) -> Any:
    """A list as JSON, anything else as it is."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
