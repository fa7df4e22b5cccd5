"""Every report says how it was measured."""

import json
import re
import shlex
from pathlib import Path

import pytest

from reports.__main__ import main
from reports.origin import SEEDS, section_of, seeds

CAPTIONS = 'clip_id,caption,references\na,a dog,"[""a dog barks""]"\nb,rain,"[""rain falls""]"\n'


def write_run(folder: Path, config: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    (folder / "captions.csv").write_text(CAPTIONS)
    return folder / "captions.csv"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fit with seed 7 that wrote an export, its test, a test of pretrained weights, captions of unknown origin."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs/method/fit-1", "seed_everything: 7\n")
    provenance = tmp_path / "exports/method/provenance.json"
    provenance.parent.mkdir(parents=True)
    provenance.write_text(json.dumps({"run_folder": "runs/method/fit-1"}))
    export = "run_name: {}\nseed_everything: 42\nexport: {{root: exports, load: {}, source: {}}}\n"
    write_run(tmp_path / "runs/method/test-1", export.format("method", "true", "null"))
    write_run(tmp_path / "runs/image/test-1", export.format("image", "true", "exports/method"))
    write_run(tmp_path / "runs/pretrained/test-1", export.format("pretrained", "false", "null"))
    (tmp_path / "mine.csv").write_text(CAPTIONS)
    return tmp_path


def test_the_seeds_are_those_of_the_training_runs(runs: Path) -> None:
    rows = {name: [runs / "runs" / name / "test-1" / "captions.csv"] for name in ("method", "image", "pretrained")}
    found = seeds(rows | {"both": rows["method"] + rows["pretrained"], "mine": [runs / "mine.csv"]})
    assert found == f"{SEEDS}: method 7; image 7; pretrained 42; both 7, 42; mine unknown"
    assert seeds({"a": rows["method"], "b": rows["image"]}) == f"{SEEDS}, in every row: 7"


def test_the_seed_of_what_was_tested_and_not_of_what_the_export_holds_by_now(runs: Path) -> None:
    """The run name is trained anew after the test; other tests start from a checkpoint, or from pretrained weights."""
    rows = {name: [runs / "runs" / name / "test-1" / "captions.csv"] for name in ("method", "image", "pretrained")}
    write_run(runs / "runs/method/fit-2", "seed_everything: 8\n")
    (runs / "exports/method/provenance.json").write_text(json.dumps({"run_folder": "runs/method/fit-2"}))
    for name, weights in (
        ("method", {"export": "exports/method", "run_folder": "runs/method/fit-1"}),
        ("image", {"checkpoint": "runs/method/fit-1/checkpoints/best.ckpt"}),
        ("pretrained", {}),
    ):
        (runs / "runs" / name / "test-1" / "scores.json").write_text(json.dumps({"made_by": {"weights": weights}}))
    assert seeds(rows) == f"{SEEDS}: method 7; image 7; pretrained 42"


def test_a_report_ends_with_how_it_was_measured(runs: Path) -> None:
    arguments = ["compare", "the method=runs/method/test-1", "--no-java", "--samples", "50", "--output", "out/a.md"]
    main([*arguments, "--title", "A table", "--note", "What it shows.", "--note", "And why."])
    text = (runs / "out/a.md").read_text()
    assert text.startswith("# A table\n\nWhat it shows.\n\nAnd why.\n\n| row | N |")
    entries = section_of(runs / "out/a.md")
    (command,) = (entry for entry in entries if entry.startswith("command: "))
    words = shlex.split(command.removeprefix("command: `").removesuffix("`"))
    assert words[:3] == ["python", "-m", "reports"] and words[3 : 3 + len(arguments)] == arguments
    assert entries[0] == "clips: N = 2" and entries[1] == f"{SEEDS}, in every row: 7"
    assert any("bootstrap intervals over clips" in entry for entry in entries)
    (versions,) = (entry for entry in entries if entry.startswith("versions: "))
    assert re.search(
        r"Python 3\.\d+\.\d+, torch \d\S+, transformers \d\S+, lightning \d\S+, aac-metrics \d\S+, earshot ", versions
    )
    assert re.fullmatch(r"date: \d{4}-\d\d-\d\d", entries[-1])
    assert sorted(path.name for path in (runs / "out").iterdir()) == ["a.csv", "a.md"]


def test_the_papers_page_repeats_how_its_reports_were_measured(runs: Path) -> None:
    main(["compare", "ot=runs/method/test-1", "--no-java", "--samples", "50", "--output", "a.md"])
    main(["paper", "--audiocaps", "a.csv", "--output", "dali.md"])
    entries = section_of(runs / "dali.md")
    assert f"audiocaps: {SEEDS}, in every row: 7" in entries
    assert any(entry.startswith("command: `python -m reports paper") for entry in entries)
