"""The command's verbs: quick to ask for help, and the choice of the best row."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from reports.__main__ import VERBS, main

ASK = """
import sys
from {module} import main
for args in {args}:
    try:
        main(args)
    except SystemExit as stop:
        assert stop.code == 0
print(*sorted({{"torch", "transformers", "lightning", "matplotlib", "scipy"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("module", "verbs"), [("reports.__main__", [[], *([verb] for verb in VERBS)]), ("evaluation.__main__", [[]])]
)
def test_help_imports_nothing_slow(module: str, verbs: list[list[str]]) -> None:
    program = ASK.format(module=module, args=[[*verb, "--help"] for verb in verbs])
    lines = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert lines.splitlines()[-1] == ""
    assert all(verb in lines for verb in (VERBS if len(verbs) > 1 else ["--fetch"]))


def test_an_unknown_verb_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["table"])
    assert stop.value.code == 2 and "invalid choice: 'table'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "compare mine.csv --output mine.md",
        "compare x=run --output run/captions.md",
        "compare x=run --output run/scores.md",
        "compare mine.csv --vocabulary words.csv --output words",
        "compare mine.csv --constant-from words.csv --output words.md",
        "examples mine.csv --output ./mine.csv",
        "plot 1=mine.csv --output run/../mine.png",
        "sweep 0=run 1=words.csv --beside mine.csv --output mine.md",
        "paper --audiocaps mine.csv --output mine.md",
        "paper --clotho mine.csv --output mine.csv",
        "listen mine.csv --output mine.csv",
        "listened mine.csv --output mine.md",
        "best mine.csv --output mine.scores.json",
        "html run --output run/captions.csv",
    ],
)
def test_no_output_replaces_what_is_read(command: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    for name in ("mine.csv", "run/captions.csv", "words.csv"):
        Path(name).write_text(name)
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and "expected to write to a file of its own, found " in line
    assert all(Path(name).read_text() == name for name in ("mine.csv", "run/captions.csv", "words.csv"))


def test_the_best_row_has_the_highest_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    b = {"cider_d": 1.9, "bleu_1": math.nan}
    for name, scores in (("a1", {"cider_d": 1.0, "rouge_l": 0.9}), ("a2", {"cider_d": 3.0}), ("b", b)):
        (tmp_path / name / "test-1").mkdir(parents=True)
        (tmp_path / name / "test-1" / "scores.json").write_text(json.dumps(scores))
        (tmp_path / name / "test-1" / "captions.csv").touch()
    rows = [f"b={tmp_path / 'b'}", f"NI, NND={tmp_path / 'a1'},{tmp_path / 'a2'}"]
    main(["best", *rows, "--output", str(tmp_path / "out" / "best.txt")])
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "out" / "best.txt").read_text() == "NI, NND\n"
    assert printed.err.splitlines() == ["cider_d 2.000: NI, NND", "cider_d 1.900: b"]
    with pytest.raises(SystemExit) as stop:
        main(["best", *rows, "--metric", "rouge_l"])
    assert stop.value.code == 2 and "expected metric ROUGE-L in" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["best", rows[0], "--metric", "bleu_1"])  # not a number
    assert stop.value.code == 2 and "expected metric BLEU-1 in" in capsys.readouterr().err
