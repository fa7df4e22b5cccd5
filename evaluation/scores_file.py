"""The scores beside a captions file: scores.json, and scores.csv with those of each clip."""

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.clips import CaptionRows
from earshot.atomic import atomic_path, write_text
from earshot.errors import InputError
from evaluation.captions_file import FILE_NAME as CAPTIONS
from evaluation.captions_file import clips_of

FILE_NAME = "scores.json"
DIGEST = "captions_digest"
PerClip = dict[str, dict[str, float]]  # by metric, by clip id


def beside(captions: Path, name: str) -> Path:
    """A file of that name beside captions.csv of a run, <captions>.<name> beside another captions file."""
    if captions.name == CAPTIONS:
        return captions.with_name(name)
    return captions.with_name(f"{captions.stem if captions.suffix == '.csv' else captions.name}.{name}")


def scores_path(captions: Path) -> Path:
    """scores.json of a captions file."""
    return beside(captions, FILE_NAME)


def with_scores(captions: Path) -> tuple[Path, Path, Path]:
    """A captions file, its scores and those of its clips: what is read where a captions file is named."""
    return captions, scores_path(captions), scores_path(captions).with_suffix(".csv")


def digest_of(rows: CaptionRows) -> str:
    """A digest of captions, references and labels, whatever the order of the clips."""
    return hashlib.sha256(json.dumps(sorted(clips_of(rows))).encode()).hexdigest()[:16]


def read_scores(captions: Path) -> dict[str, Any]:
    """What is in the scores file of a captions file; nothing where there is none.

    Raises:
        InputError: not a JSON object.
    """
    path = scores_path(captions)
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if isinstance(found, dict):
            return found
        reason = f"a {type(found).__name__}"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise InputError(f"expected a JSON object of scores in {path}, found another file ({reason}); remove it")


def write_scores(captions: Path, rows: CaptionRows, found: Mapping[str, Any], per_clip: PerClip) -> Path:
    """Add scores to those of the same captions, or put them in the place of those of others; atomically.

    Args:
        captions: the captions file.
        rows: what it holds.
        found: what goes to scores.json; `made_by`, `models`, `intervals` and `not_computed` are added to those that are
            there.
        per_clip: what goes to scores.csv.
    """
    path, digest = scores_path(captions), digest_of(rows)
    known = read_scores(captions)
    if known.get(DIGEST, digest) == digest:
        per_clip = read_clip_scores(captions, rows) | per_clip
    else:  # the captions have changed since
        known = {}
    scores = {**known, **found, DIGEST: digest}
    for key in ("made_by", "models", "intervals", "not_computed"):
        if isinstance(known.get(key), dict) and key in found:
            scores[key] = known[key] | found[key]
    for key, computed in (("models", True), ("intervals", True), ("not_computed", False)):
        listed = scores.get(key, {})
        scores[key] = {name: listed[name] for name in listed if (scores.get(name) is not None) == computed}
    names = [name for name in per_clip if scores.get(name) is not None]
    with atomic_path(path.with_suffix(".csv")) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip_id", *names])
        writer.writerows([clip, *(per_clip[name].get(clip, "") for name in names)] for clip in rows["clip_ids"])
    write_text(path, json.dumps(scores, indent=2) + "\n")
    return path


def read_clip_scores(captions: Path, rows: CaptionRows) -> PerClip:
    """The scores of each clip; nothing where there are none, or where they are of other captions than `rows`.

    Raises:
        InputError: another table.
    """
    path = scores_path(captions).with_suffix(".csv")
    if not path.is_file() or read_scores(captions).get(DIGEST) != digest_of(rows):
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        names: Sequence[str] = [name for name in (lines[0] if lines else ()) if name != "clip_id"]
        return {name: {line["clip_id"]: float(line[name]) for line in lines if line[name]} for name in names}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"expected the scores of clips in {path}, found another table ({error}); remove it") from None


def read_score(captions: Path, name: str) -> float | None:
    """A score of a captions file; None where it was not computed, or is not a number.

    Raises:
        InputError: no scores, or a file that cannot be read.
    """
    if not scores_path(captions).is_file():
        raise InputError(f"expected scores at {scores_path(captions)}, found none; run `test` first")
    value = read_scores(captions).get(name)
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None
