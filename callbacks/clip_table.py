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
from reports.clip_pages.document import Media
from reports.clip_pages.media import embedded, of_uri, split_folder

KEY = "test/clips"
COLUMNS = ("clip_id", "audio", "frame", "caption", "references")


def media_of_test(made_by: dict[str, Any], clip_ids: Sequence[str]) -> dict[str, Media] | None:
    """Sound and frame of clips of the split that a test noted; None where it cannot be read."""
    try:
        return embedded(split_folder(made_by, {}), clip_ids)
    except (InputError, OSError):
        return None


def log_clips(
    logger: WandbLogger, scores: Scores, places: Sequence[int], media: Mapping[str, Media], step: int
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
            found = media.get(clip.clip_id, Media())
            files = [uri and file_of(uri, Path(folder, str(len(rows)))) for uri in (found.audio, found.frame)]
            audio, frame = files[0] and wandb.Audio(files[0]), files[1] and wandb.Image(files[1])
            numbers = [per_clip.get(clip.clip_id) for per_clip in scores.per_clip.values()]
            rows.append([clip.clip_id, audio, frame, clip.caption, "\n".join(clip.references), *numbers])
        logger.log_table(KEY, columns=[*COLUMNS, *scores.per_clip], data=rows, step=step)


def file_of(uri: str, path: Path) -> str:
    """Write what a data URI holds beside `path`, with the ending of its kind."""
    ending, data = of_uri(uri)
    path.with_suffix(f".{ending}").write_bytes(data)
    return str(path.with_suffix(f".{ending}"))
