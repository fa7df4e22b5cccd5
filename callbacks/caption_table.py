"""A table of captions that grows as `predict` runs, on every rank, and goes on after a kill: pseudo-captions."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, TextIO

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from callbacks.caption_evaluation import are_captions, run_folder
from callbacks.export import Export, surroundings
from datamodules.clips import CaptionRows
from datamodules.contracts import PredictSource, datamodule_of
from evaluation.captions_file import FILE_NAME, empty_rows, write_captions

SETTINGS = ("llava", "prefix", "audio_projector", "inputs", "question", "generation")  # of a stage that captions


class CaptionTable(L.Callback):
    """Write exports/<run_name>/captions.csv: of each clip of the predict split its caption, references and labels.

    Each rank appends a line a clip to a file of its own in exports/<run_name>/parts-<made by>/, and the disk has it
    before the next batch begins. The same command again skips the clips that are there. What the captions are made
    by (weights, prefix, question, decoding, split) names the folder: with another, one begins anew. The table
    itself is written at the end, by clip id, at one blow.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self.parts = Path()
        self.file: TextIO | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before any clip is read: see what is done, and have the datamodule leave it out."""
        if stage != "predict":
            return
        export = next(callback for callback in trainer.callbacks if isinstance(callback, Export))  # type: ignore[attr-defined]
        self.folder = export.folder
        self.made_by = trainer.strategy.broadcast(made_by(trainer, pl_module, export))
        self.parts = self.folder / f"parts-{self.made_by}"
        done = read_parts(self.parts)
        datamodule_of(trainer, PredictSource).leave_out(done.keys())
        if done:
            rank_zero_info(f"{len(done)} clips have their caption in {self.parts}/ already")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the rank's file behind its last whole line."""
        self.parts.mkdir(parents=True, exist_ok=True)
        path = self.parts / f"rank-{trainer.global_rank}.jsonl"
        with open(path, "ab") as file:
            file.truncate(len(whole_lines(path.read_bytes())))
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (open until the end)

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Append the batch."""
        assert self.file is not None and are_captions(outputs), "CaptionTable is for stages that return CaptionRows"
        lines = zip(*(outputs[key] for key in CaptionRows.__annotations__))
        self.file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        self.file.flush()
        os.fsync(self.file.fileno())

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Once all ranks are done, rank 0 writes the table."""
        self._close()
        trainer.strategy.barrier("captions")
        if not trainer.is_global_zero:
            return
        found = read_parts(self.parts)
        clips = datamodule_of(trainer, PredictSource).num_predict_clips()
        if len(found) < clips:  # a limit was set
            rank_zero_info(f"{len(found)} of {clips} clips have a caption in {self.parts}/; the table waits for all")
            return
        rows = empty_rows()
        for clip_id in sorted(found):
            for key, value in zip(CaptionRows.__annotations__, found[clip_id]):
                rows[key].append(value)  # type: ignore[literal-required]
        write_captions(self.folder / FILE_NAME, rows)
        note = {"made_by": self.made_by, "run_folder": str(run_folder(trainer)), **surroundings()}
        (self.folder / "provenance.json").write_text(json.dumps(note, indent=2) + "\n")
        for other in self.folder.glob("parts-*"):
            if other != self.parts:  # of an earlier table
                shutil.rmtree(other)
        rank_zero_info(f"{len(found)} of {clips} clips have a caption in {self.folder / FILE_NAME}")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """What was captioned is on disk."""
        self._close()

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def made_by(trainer: L.Trainer, stage: Any, export: Export) -> str:
    """A short digest of what decides the captions; of LLaVA only the name."""
    digest = hashlib.sha256(json.dumps([str(getattr(stage, name, None)) for name in SETTINGS]).encode())
    digest.update(datamodule_of(trainer, PredictSource).predict_digest().encode())
    encoder = getattr(stage, "audio_encoder", None)
    if encoder is not None and not (export.load or trainer.ckpt_path):  # those bring weights, whose files count below
        for tensor in getattr(encoder, "network", encoder).state_dict().values():
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
    folders = [getattr(stage, "prefix", None), getattr(stage, "audio_projector", None), export.load and export.source]
    files = [Path(trainer.ckpt_path)] if trainer.ckpt_path else []
    for folder in folders:
        if isinstance(folder, str | Path):
            files += sorted(Path(folder).glob("*.safetensors"))
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def whole_lines(data: bytes) -> bytes:
    """Without the line that a kill broke off."""
    return data[: data.rfind(b"\n") + 1]


def read_parts(folder: Path) -> dict[str, list[Any]]:
    """The rows that all ranks have written, by clip id."""
    rows = {}
    for path in sorted(folder.glob("rank-*.jsonl")):
        for line in whole_lines(path.read_bytes()).splitlines():
            row = json.loads(line)
            rows[row[0]] = row
    return rows
