"""How the clips of a report were captioned, as their stage tells it: written beside the scores for the page."""

import json
import warnings
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import lightning as L
import torch

from datamodules.clips import CaptionRows
from datamodules.contracts import ExplainingStage, TestClips
from earshot.atomic import write_text
from earshot.errors import InputError
from reports.clip_pages.of_run import DETAILS
from reports.clip_pages.sample import chosen


@torch.no_grad()
def write_explanations(
    trainer: L.Trainer, stage: L.LightningModule, rows: CaptionRows, cider_d: Sequence[float | None], clips: int
) -> str | None:
    """Write explanations.json into the run folder, of the clips whose sound the page will have; on rank 0 alone.

    Returns:
        Why there is none, for the terminal; None where there is one, or where the stage has nothing to explain.
    """
    data, path = vars(trainer).get("datamodule"), Path(trainer.default_root_dir, DETAILS)
    path.unlink(missing_ok=True)
    if not isinstance(stage, ExplainingStage) or not isinstance(data, TestClips):
        return None
    wanted = {rows["clip_ids"][place]: rows["captions"][place] for place in chosen(cider_d, clips)}
    found: dict[str, dict[str, Any]] = {}
    lacking = bool(wanted)
    try:
        with warnings.catch_warnings():  # a clip that was captioned may lack what an explanation reads, such as a frame
            warnings.filterwarnings("ignore", "left out a broken clip")
            for verb in ("explain", "test"):  # the second where every clip lacks something of the first
                for batch in filter(attrgetter("valid"), data.test_clips(wanted, stage.clip_format(verb))):
                    lacking = lacking and verb == "test"
                    on_device = trainer.strategy.batch_to_device(batch)
                    explained = stage.explain(on_device, [wanted[clip_id] for clip_id in batch.clip_ids])
                    found |= {clip_id: dict(each) for clip_id, each in zip(batch.clip_ids, explained) if each}
                if not lacking:
                    break
    except InputError as error:
        return f"the report does not show how clips were captioned: {str(error).partition(';')[0]}"
    except Exception as error:  # the scores are there already, and no fault here takes them away
        return f"warning: the report does not show how clips were captioned ({error!r})"
    if lacking and not found:
        return "the report does not show how clips were captioned: that reads more than they have, such as images"
    if found:
        write_text(path, json.dumps(found) + "\n")
    return None
