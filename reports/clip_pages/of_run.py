"""The page of one test, from its run folder alone."""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import isfinite, nan
from pathlib import Path
from typing import Any

import yaml

from datamodules.clips import CaptionRows
from earshot.errors import InputError, require_apart
from evaluation.captions_file import captions_path, clips_of, read_captions
from evaluation.scores import TITLES, TOKENIZERS, lacking
from evaluation.scores_file import beside, read_clip_scores, read_scores, scores_path, with_scores
from reports.clip_pages.budget import LIMIT, write
from reports.clip_pages.document import ClipRow, Column, Document, Interval, Table
from reports.clip_pages.media import AT_ONCE, MediaBytes, as_media, read_media, split_folder
from reports.clip_pages.sample import chosen, drawn
from reports.paper_rows import paper_row
from reports.rows import run_name

FILE_NAME = "report.html"
DETAILS = "explanations.json"
CLIPS = 60  # with sound and image
ORDER = (  # of scores as columns and headline: what papers rank by comes first
    "cider_d", "spider", "fense", "spider_fl", "meteor", "spice", "clap_sim", "rouge_l", "bleu_4", "recall",
)  # fmt: skip
SHOWN, HEADLINE = 4, 4
LOW_IS_GOOD = ("fer", "visual_share")


def write_report(
    run: Path,
    clips: int = CLIPS,
    data: Path | None = None,
    output: Path | None = None,
    media: Mapping[str, MediaBytes] | None = None,
) -> Path:
    """Write the page of a finished test into its run folder.

    Args:
        run: the run folder, runs/<run_name> or a captions file.
        clips: how many get sound and image.
        data: folder of the split that was tested; None takes what the run noted.
        output: None writes report.html beside captions.csv, <name>.report.html beside another captions file.
        media: sound and frame of these clips, where they have been read already.

    Raises:
        InputError: no captions or no scores, or the output is one of these files.
    """
    captions = captions_path(run)
    require_apart([output], with_scores(captions))
    rows = read_captions(captions)
    if not scores_path(captions).is_file():
        raise InputError(f"expected scores at {scores_path(captions)}, found none; run: earshot score {captions}")
    return write(output or beside(captions, FILE_NAME), document_of(captions, rows, clips, data, media))


def document_of(
    captions: Path,
    rows: CaptionRows,
    clips: int,
    data: Path | None = None,
    media: Mapping[str, MediaBytes] | None = None,
) -> Document:
    """The page of a captions file with scores beside it."""
    scores, per_clip = read_scores(captions), read_clip_scores(captions, rows)
    made_by = scores.get("made_by") or {}
    config = config_of(captions.parent)
    keys = sorted(per_clip, key=lambda key: (*ORDER, *TITLES, key).index(key))
    columns = [Column(key, TITLES.get(key, key), index < SHOWN, key in LOW_IS_GOOD) for index, key in enumerate(keys)]
    first = [per_clip[keys[0]].get(clip_id) if keys else None for clip_id in rows["clip_ids"]]
    found = clip_rows(rows, [rows["captions"]], [per_clip[key] for key in keys])
    order = chosen(first, len(found))
    embedding = add_media(found, order[:clips], made_by, config, data, media)
    add_details(found, captions.with_name(DETAILS))
    name = config.get("run_name") or run_name(captions)
    number = scores.get("num_clips", len(found))
    split = (made_by.get("clips") or {}).get("split", captions.name)
    inputs = (made_by.get("captions") or {}).get("inputs")
    facts = [f"{number} clips of {split}", f"captioned from {inputs.replace('+', ' and ')}" if inputs else ""]
    table, notes = score_table(scores, str(name), str(split), inputs)
    if not keys:  # none were written, or they are of other captions
        notes.append(
            f"Scores of single clips are not there, or of other captions than these; to have them: earshot score "
            f"{captions}"
        )
    return Document(
        title=str(name),
        subtitle=" · ".join(filter(None, facts)),
        headline=[
            (TITLES[key], number_text(key, scores[key]), interval_text(scores, key))
            for key in ORDER
            if isinstance(scores.get(key), int | float)
        ][:HEADLINE],
        table=table,
        notes=notes,
        systems=[str(name)],
        columns=columns,
        clips=found,
        random=drawn(len(found)),
        order=order,
        chosen=min(clips, len(found)),
        frame_note=frame_note(inputs),
        embedded=embedding,
        origin=origin_of(made_by),
        folded=folded(made_by, captions.parent),
    )


def clip_rows(
    rows: CaptionRows, captions: Sequence[Sequence[str]], scores: Sequence[Mapping[str, float]]
) -> list[ClipRow]:
    """The clips with the captions of each system and the scores of each column, by clip id."""
    return [
        ClipRow(
            clip.clip_id,
            [system[index] for system in captions],
            clip.references,
            clip.labels,
            [round(score, 4) if isfinite(score := column.get(clip.clip_id, nan)) else None for column in scores],
        )
        for index, clip in enumerate(clips_of(rows))
    ]


def add_media(
    clips: Sequence[ClipRow],
    places: Sequence[int],
    made_by: dict[str, Any],
    config: dict[str, Any],
    data: Path | None,
    media: Mapping[str, MediaBytes] | None = None,
) -> str:
    """Give the clips at these places their sound and frame; why there is none, in a sentence."""
    place_of, used = {clips[place].id: place for place in places}, 0
    try:
        read = read_media(data or split_folder(made_by, config), list(place_of)) if media is None else media.items()
        wanted = ((clip_id, sample) for clip_id, sample in read if clip_id in place_of)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and encoding let other threads run
            while used <= LIMIT and (some := list(islice(wanted, AT_ONCE))):
                for (clip_id, _), embedded in zip(some, pool.map(as_media, [sample for _, sample in some])):
                    clips[place_of[clip_id]].media = embedded
                    used += len(embedded.audio or "") + len(embedded.frame or "")
    except (InputError, OSError) as error:
        return f"There is no sound or image on this page: {error}."
    return "" if used or not places else "There is no sound or image on this page: none was found."


def add_details(clips: Sequence[ClipRow], path: Path) -> None:
    """What the stage says of how it captioned the clips that have sound, where it said any."""
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
        details = json.loads(text, parse_constant=lambda name: None)  # a browser's JSON knows no NaN
    except ValueError:
        details = {}
    for clip in clips:
        if clip.media is not None and isinstance(details.get(clip.id), dict):
            clip.details = details[clip.id]


def score_table(scores: dict[str, Any], name: str, split: str, inputs: str | None) -> tuple[Table, list[str]]:
    """All scores with intervals, beside those of the paper's row for such a run, and notes on them."""
    keys = [key for key in TITLES if key in scores]
    row_found = paper_row(name, split, inputs)
    synthetic = bool(((scores.get("made_by") or {}).get("clips") or {}).get("synthetic"))
    theirs_of = {
        key: (row_found.numbers if row_found else {}).get("cider" if key == "cider_d" else key) for key in keys
    }
    source = row_found.source if row_found and any(number is not None for number in theirs_of.values()) else ""
    notes = [
        "Intervals: 95% percentile bootstrap over the clips. The lines run from 0 to 1; of a score above 1, to the end "
        "of its interval." + (" Dashed: the paper." if source else "")
    ]
    if "tokenizer" in scores:
        notes.append(f"Tokens by {TOKENIZERS.get(scores['tokenizer'], scores['tokenizer'])}.")
    reasons = {key: reason.removeprefix("not computed: ") for key, reason in scores.get("not_computed", {}).items()}
    notes += [f"{line}." for line in lacking({key: reasons[key] for key in keys if key in reasons})]
    if without := scores.get("num_without_references"):
        notes.append(f"{without} clips have no reference and count in no score.")
    if source and synthetic:
        notes.append(
            f"{source}: on the real corpus, with full-size models. This test is of the synthetic miniature; the two "
            "are not comparable."
        )
    elif source:
        notes.append(f"{source}.")
    elif row_found:
        notes.append(f"{row_found.source}; the text of the paper gives none of these scores for it.")
    rows: list[list[str | Interval]] = []
    for key in (key for key in keys if isinstance(scores[key], int | float)):
        value, theirs = float(scores[key]), theirs_of[key]
        low, high = scores.get("intervals", {}).get(key, (value, value))
        end = max(1.0 if value <= 1 else 0.0, value, high, theirs or 0.0) * 1.02
        bar: str | Interval = (
            Interval(value, low, high, end, theirs) if key not in ("vocabulary", "caption_length") else ""
        )
        row = [TITLES[key], number_text(key, value), interval_text(scores, key), bar]
        rows.append([*row, "" if theirs is None else f"{theirs:.3f}"] if source else row)
    headings = ["score", "value", "95% interval", "value and interval", *(["paper"] if source else [])]
    return Table(f"All scores of {name} on {split}", headings, rows), notes


def number_text(key: str, value: float) -> str:
    """A score as it is shown."""
    return f"{value:.0f}" if key == "vocabulary" else f"{value:.3f}"


def interval_text(scores: dict[str, Any], key: str) -> str:
    """The ends of a score's interval; nothing where there is none."""
    return " to ".join(f"{end:.3f}" for end in scores.get("intervals", {}).get(key, ()))


def frame_note(inputs: str | None) -> str:
    """What stands below a frame: whether the captioner saw it."""
    if inputs is None or "image" not in inputs:
        return "for the eye only: the captioner did not see it"
    return "the captioner saw this frame" + (", and did not hear the sound" if "audio" not in inputs else "")


def origin_of(made_by: dict[str, Any]) -> list[tuple[str, str]]:
    """What the scores come from, as pairs of name and text, without what is folded away."""
    clips, weights = made_by.get("clips") or {}, made_by.get("weights") or {}
    found = {
        "clips": ", digest ".join(str(clips[key]) for key in ("split", "digest") if key in clips),
        "missing of the corpus' list": f"{clips['missing']} of {clips['listed']}" if "listed" in clips else "",
        "weights": weights.get("export") or weights.get("checkpoint"),
        "trained in": weights.get("run_folder"),
        "trained by": weights.get("command"),
        "seed": made_by.get("seed"),
        "precision": made_by.get("precision"),
        "hardware": made_by.get("hardware"),
        "warning": made_by.get("warning"),
    }
    return [(name, str(text)) for name, text in found.items() if text not in (None, "")]


def folded(made_by: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Command, versions, what decides the captions, and the configuration."""
    found = [("Command", str(made_by["command"]))] if "command" in made_by else []
    for title, key in (("Versions", "versions"), ("Captions made by", "captions")):
        if made_by.get(key):
            found.append((title, yaml.safe_dump(made_by[key], sort_keys=False, allow_unicode=True)))
    path = folder / "config.yaml"
    if path.is_file():
        found.append(("Configuration", path.read_text(encoding="utf-8", errors="replace")))
    return found


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration of a run; nothing where there is none."""
    path = folder / "config.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError):
        found = {}
    return found if isinstance(found, dict) else {}
