"""What the scores of a test come from: clips, weights, prompt, decoding, seeds, versions, hardware."""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from callbacks.costs import costs_of
from callbacks.export import Export, settings_of
from callbacks.lineage import MADE_FROM, PROVENANCE, made_from
from datamodules.contracts import CaptioningStage, TestFolder, TestSource
from datamodules.known_corpora import NAMES, beside_its_list, corpus_of
from earshot.provenance import provenance

LENGTH = 16  # hexadecimal digits
SYNTHETIC = "miniature"  # the package whose datamodules have splits that are only called like corpora


def made_by(trainer: L.Trainer, stage: L.LightningModule, clip_ids: Sequence[str]) -> dict[str, Any]:
    """Everything that a reader needs to know of a test beside its scores, as JSON; on rank 0.

    `clips` are the split, a digest of the ids, and what is missing of the corpus' own list; `captions` what the stage
    says (`CaptioningStage.captions_made_by`): digests of the weights, prompt, decoding; `weights` the export or
    checkpoint and how it was trained; `costs` those of the captions (`callbacks.costs`), `made_from` all exports that
    were read, with theirs. There is a `warning` where a pretrained part says that it was trained on the
    corpus that is tested.
    """
    captions = stage.captions_made_by() if isinstance(stage, CaptioningStage) else {}
    trained_on = captions.pop("trained_on", [])
    origin = provenance()
    clips = clips_of_test(trainer, clip_ids)
    export = next((callback for callback in vars(trainer)["callbacks"] if isinstance(callback, Export)), None)
    started_from = [] if export is None else export.starts_from(trainer, stage)
    found = {
        "clips": clips,
        "captions": captions,
        "weights": weights_of_test(trainer, started_from),
        "seed": os.environ.get("PL_GLOBAL_SEED"),
        "precision": str(trainer.precision),
        "hardware": hardware(trainer),
        **costs_of(trainer),
        MADE_FROM: made_from(settings_of(Path(trainer.default_root_dir)), *started_from),
        "command": origin.pop("command"),
        "versions": origin,
    }
    if trained_on:
        found["trained_on"] = trained_on
    tested = corpus_of(clips["split"]) if "corpus" in clips else None
    if tested is not None and (held := [name for name in trained_on if tested in name.lower()]):
        found["warning"] = (
            f"a pretrained part was trained on {', '.join(held)}: {NAMES[tested]}'s scores are not those of a model "
            "that never saw its pairs"
        )
    return json.loads(json.dumps(found, default=str))


def clips_of_test(trainer: L.Trainer, clip_ids: Sequence[str]) -> dict[str, Any]:
    """The split, its folder, N, a digest of the ids whatever their order, and what is known of the corpus."""
    data = vars(trainer).get("datamodule")
    split = str(data.test) if isinstance(data, TestSource) else "unknown"
    digest = hashlib.sha256("\n".join(sorted(clip_ids)).encode()).hexdigest()[:LENGTH]
    found: dict[str, Any] = {"split": split, "number": len(clip_ids), "digest": digest}
    if isinstance(data, TestFolder):
        found["folder"] = str(data.test_folder())
    if type(data).__module__.partition(".")[0] == SYNTHETIC:
        return found | {"synthetic": True}
    return found | beside_its_list(split, len(clip_ids))


def weights_of_test(trainer: L.Trainer, started_from: list[Path]) -> dict[str, Any]:
    """The checkpoint or the export that the test started from, with the export's own note; nothing where neither."""
    if trainer.ckpt_path is not None:
        return {"checkpoint": str(trainer.ckpt_path)}
    for note in (folder / PROVENANCE for folder in started_from):
        if note.is_file():
            return {"export": str(note.parent), **json.loads(note.read_text(encoding="utf-8"))}
    return {}


def hardware(trainer: L.Trainer) -> str:
    """How many devices of which kind, such as `4 x NVIDIA A100-SXM4-80GB`, or the processor."""
    if trainer.strategy.root_device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(trainer.strategy.root_device)}"
    return f"{processor()}, {torch.get_num_threads()} threads a process, {trainer.world_size} processes"


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
