"""W&B's table of a sample of a test's clips: sound to play, frame, caption, references and the scores of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wandb

from callbacks.wandb_logger import WandbLogger
from earshot.errors import InputError
from evaluation.captions_file import clips_of
from evaluation.scores import Scores
from reports.clip_pages.media import MediaBytes, read_media, split_folder

KEY = "test/clips"
COLUMNS = ("clip_id", "audio", "frame", "caption", "references")


def media_of_test(made_by: dict[str, Any], clip_ids: Sequence[str]) -> dict[str, MediaBytes] | None:
    """Sound and frame of clips of the split that a test noted; None where it cannot be read."""
    try:
        return dict(read_media(split_folder(made_by, {}), clip_ids))
    except (InputError, OSError):
        return None


def log_clips(
    logger: WandbLogger, scores: Scores, places: Sequence[int], media: Mapping[str, MediaBytes], step: int
) -> None:
    """Log the clips at these places; no fault here ends the run.

    Args:
        logger: on rank 0.
        scores: of the test.
        places: numbers of clips in `scores.rows`.
        media: sound and frame, by clip; clips without stand there as text.
        step: `trainer/global_step`.
    """
    clips = list(clips_of(scores.rows))
    with logger.survived(), TemporaryDirectory() as folder:
        rows: list[list[Any]] = []
        for clip in (clips[place] for place in places):
            audio = frame = None
            for ending, data in media.get(clip.clip_id, {}).items():
                path = Path(folder, f"{len(rows)}.{ending}")
                path.write_bytes(data)
                if ending.endswith(".jpg"):
                    frame = wandb.Image(str(path))
                else:
                    audio = wandb.Audio(str(path))
            numbers = [per_clip.get(clip.clip_id) for per_clip in scores.per_clip.values()]
            rows.append([clip.clip_id, audio, frame, clip.caption, "\n".join(clip.references), *numbers])
        logger.log_table(KEY, columns=[*COLUMNS, *scores.per_clip], data=rows, step=step)
