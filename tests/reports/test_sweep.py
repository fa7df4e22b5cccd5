"""The sweep's table and figure from captions on disk."""

import json
from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from evaluation.captions_file import write_captions
from reports.__main__ import main

REFERENCES = [["a bell rings", "the bell rings"], ["a dog barks", "one dog barks loudly"], ["rain falls", "it rains"]]


def write_run(folder: Path, captions: list[str], audibility: float | None) -> str:
    folder.mkdir()
    ids = [f"clip{i}" for i in range(3)]
    write_captions(folder / "captions.csv", CaptionRows(
        clip_ids=ids, captions=captions, references=REFERENCES, labels=[["bell"], ["dog"], ["rain"]],
    ))  # fmt: skip
    (folder / "scores.json").write_text(json.dumps({} if audibility is None else {"audibility": audibility}))
    return str(folder)


def test_table_and_figure(tmp_path: Path) -> None:
    runs = [
        f"{value}={write_run(tmp_path / value, captions, a)}"
        for value, captions, a in (
            ("0", ["red bell", "a dog", "cloud"], 0.2),
            ("0.06", ["a bell rings", "a dog", "rain falls"], 0.9),
            ("0.5", ["a bell rings", "rings", "rings"], 0.8),
        )
    ]
    main(["sweep", *runs, "--no-java", "--output", str(tmp_path / "sweep.md")])
    text = (tmp_path / "sweep.md").read_text()
    assert "Spearman's rank correlation of the mean A with lambda_2: 0.500" in text
    header, _, first, second = text.splitlines()[:4]
    assert header.startswith("| lambda_2 |") and "CIDEr-D minus 0's" in header and "| A | BLEU, paper |" in header
    assert first.startswith("| 0 |") and second.endswith("| 0.900 | 0.095 | 0.083 | 0.081 | 0.085 | 0.856 |")
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_trainings_are_averaged_and_compared_one_by_one(tmp_path: Path) -> None:
    heard, seen, half = ["a bell rings", "a dog barks", "rain falls"], ["red", "red", "red"], ["a bell rings", "x", "x"]
    runs = {
        name: write_run(tmp_path / name, captions, a)
        for name, captions, a in (("0a", seen, 0.1), ("0b", seen, 0.3), ("1a", heard, 0.9), ("1b", half, 0.5))
    }
    beside = write_run(tmp_path / "other", half, 0.25)
    output = tmp_path / "sweep.md"
    main([
        "sweep", f"0.06={runs['1a']},{runs['1b']}", f"0={runs['0a']},{runs['0b']}", "--beside", f"other={beside}",
        "--no-java", "--output", str(output),
    ])  # fmt: skip
    lines = output.read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["0", "0.06", "other"]  # in order, others last
    assert lines[4].endswith("| n/a | n/a | n/a | n/a | n/a |")
    assert "| 0.200 (0.100 to 0.300) |" in lines[2] and "| 0.700 (0.500 to 0.900) |" in lines[3]
    (gaps,) = (line for line in lines if "0.06 minus 0, run by run" in line)
    # all captions of the first training are references' words, of the second one in three
    first, second = (float(part.split(" [")[0]) for part in gaps.split(": ")[1].split("], "))
    assert first > 2 * second > 0
    assert "Spearman's rank correlation of the mean A with lambda_2: 1.000" in output.read_text()
    assert "run by run: 1.000, 1.000; A rises from 0 by at most 0.800, 0.200" in output.read_text()


def test_what_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = ["a", "b", "c"]
    zero, bare = write_run(tmp_path / "zero", captions, 0.1), write_run(tmp_path / "bare", captions, None)
    for runs, told in (
        ([f"0.1={zero}"], "expected a run with lambda_2 = 0"),
        ([f"none={zero}"], "expected different, finite numbers"),
        ([f"0={zero}"], "and another to compare with it"),
        ([f"0={zero}", f"0.0={zero}", f"0.1={zero}"], "expected different, finite numbers"),
        ([f"0={zero}", f"nan={zero}"], "expected different, finite numbers"),
        ([f"0={zero}", f"0.1={bare}"], "expected metric A"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["sweep", *runs, "--no-java", "--output", str(tmp_path / "x.md")])
        assert ended.value.code == 2 and told in capsys.readouterr().err
