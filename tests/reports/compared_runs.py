"""Three runs to compare, whose scores are known by hand."""

import csv
from pathlib import Path

from datamodules.clips import CaptionRows
from evaluation.captions_file import write_captions
from reports.__main__ import main

SOUNDS = {"bell": "a bell rings", "dog": "a dog barks", "rain": "rain falls", "cow": "a cow moos"}


VOCABULARY = (
    '{"events": {"bell": {"nouns": ["bell"], "verbs": ["rings"]},'
    ' "dog": {"nouns": ["dog"], "verbs": ["barks"]},'
    ' "rain": {"nouns": ["rain"], "verbs": ["falls"]}, "cow": {"nouns": ["cow"], "verbs": ["moos"]}},'
    ' "visual_words": ["red"]}'
)


def rows_of(events: list[str], captions: list[str] | None = None, prefix: str = "test") -> CaptionRows:
    return CaptionRows(
        clip_ids=[f"{prefix}-{index:03d}" for index in range(len(events))],
        captions=captions or [SOUNDS[event] for event in events],
        references=[[SOUNDS[event], f"{SOUNDS[event]} loudly"] for event in events],
        labels=[[event] for event in events],
    )


def make_runs(tmp_path: Path) -> Path:
    """Runs that say everything rightly, half of it, and nothing, of 40 clips; a train list of 30 others."""
    events = [list(SOUNDS)[index % 4] for index in range(40)]
    good = rows_of(events)
    half = rows_of(events, [SOUNDS[event] if index < 20 else "a red thing" for index, event in enumerate(events)])
    for name, rows in (("good", good), ("half", half), ("bad", rows_of(events, ["hm"] * 40))):
        (tmp_path / name).mkdir()
        write_captions(tmp_path / name / "captions.csv", rows)
    train = ["dog"] * 20 + ["cow"] * 6 + ["rain"] * 4
    write_captions(tmp_path / "train.csv", rows_of(train, prefix="train"))
    (tmp_path / "vocabulary.json").write_text(VOCABULARY)
    return tmp_path


def read(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def run_report(runs: Path, *options: str) -> dict[str, dict[str, str]]:
    rows = [f"{name}={runs / name}" for name in ("good", "half", "bad")]
    main(["compare", *rows, "--no-java", "--samples", "300", "--output", str(runs / "out" / "table.md"), *options])
    return read(runs / "out" / "table.csv")
