"""DALI's rows beside the paper's, the examples and the plot, through their commands."""

import csv
import json
from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from evaluation.captions_file import write_captions
from evaluation.word_scores import read_vocabulary
from reports import examples, paper, plot


def report(path: Path, values: dict[str, tuple[float, float]]) -> None:
    """A report's CSV: CIDEr-D within +-0.1, and the share of visual words."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "N", "cider_d", "cider_d_low", "cider_d_high", "visual_share"])
        for row, (cider_d, visual) in values.items():
            writer.writerow([row, 300, cider_d, cider_d - 0.1, cider_d + 0.1, visual])


def test_the_papers_numbers_stand_beside_ours_and_claims_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(
        tmp_path / "a.csv",
        {
            "contrastive": (1.0, 0.1), "mmd": (1.05, 0.0), "attentive_ot": (0.5, 0.0), "attentive_ot_distilled": (2, 0),
            "image": (4.0, 0.02), "image_without_prefix": (3.0, 0.30), "best constant": (0.6, 0.0),
        },
    )  # fmt: skip
    paper.main(["--audiocaps", str(tmp_path / "a.csv"), "--output", str(tmp_path / "dali.md")])
    text = (tmp_path / "dali.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| attentive OT, distilled |")]
    assert "2.000 [1.900, 2.100]" in line and line.endswith("| 0.2441 | 0.1592 |")  # Tables 1 and 5
    (image,) = [line for line in text.splitlines() if line.startswith("| image only, without prefix |")]
    assert image.endswith("| - | - |")  # the paper has no such row
    said = [line for line in text.splitlines() if line.startswith("- ")]
    assert "- does NOT hold: on audiocaps CIDEr-D of attentive OT (0.500) above contrastive (1.000)" in said
    assert "- holds, the intervals overlap: on audiocaps CIDEr-D of MMD (1.050) above contrastive (1.000)" in said
    assert "- holds: on audiocaps CIDEr-D of attentive OT, distilled (2.000) above attentive OT (0.500)" in said
    assert any(line.startswith("- holds: the prefix turns at least 4 of 5") for line in said)
    assert not any("clotho" in line for line in said)
    with pytest.raises(SystemExit):
        paper.main(["--clotho", str(tmp_path / "none.csv")])
    assert "make it: python -m reports.compare" in capsys.readouterr().err


def test_the_papers_table_is_as_published() -> None:
    """SPIDEr is the mean of CIDEr and SPICE in every row, but for one of the paper's, which is off by .0011."""
    with open(paper.PAPER, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    for row in rows:
        assert float(row["spider"]) == pytest.approx((float(row["cider"]) + float(row["spice"])) / 2, abs=1.2e-3), row


def captions(path: Path, texts: dict[str, str]) -> Path:
    path.mkdir(parents=True)
    rows = CaptionRows(
        clip_ids=list(texts), captions=list(texts.values()), references=[["a dog barks"]] * len(texts),
        labels=[[]] * len(texts),
    )  # fmt: skip
    write_captions(path / "captions.csv", rows)
    return path


def test_examples_lay_the_same_clips_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = captions(tmp_path / "one", {"x": "a red dog", "y": "a dog"})
    second = captions(tmp_path / "two", {"y": "a cat", "x": "a bell"})
    words = tmp_path / "words.txt"
    words.write_text("red\ngreen\n")
    assert read_vocabulary(words).visual_words == ("red", "green")
    out = tmp_path / "examples.md"
    examples.main([f"MMD={first}", f"OT={second}", "--vocabulary", str(words), "--output", str(out)])
    lines = out.read_text().splitlines()
    assert lines[0] == "| a reference | MMD | OT |"
    assert lines[2:4] == ["| a dog barks | a red dog | a bell |", "| a dog barks | a dog | a cat |"]
    assert "- MMD: 0.500 of 2 captions have a word for what is only seen" in lines
    with pytest.raises(SystemExit):
        examples.main([f"MMD={first}", f"other={captions(tmp_path / 'three', {'z': 'a'})}"])
    assert "expected runs of the same clips" in capsys.readouterr().err


def test_the_plot_averages_the_runs_of_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("p1", 1.0), ("p16", 2.0), ("p16b", 4.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text(json.dumps({"cider_d": value, "rouge_l": None}))
    pairs = [f"16={tmp_path / 'p16'},{tmp_path / 'p16b'}", f"1={tmp_path / 'p1'}"]
    plot.main([*pairs, "--label", "pairs", "--output", str(tmp_path / "plot.png")])
    assert (tmp_path / "plot.md").read_text().splitlines() == [
        "| pairs | CIDEr-D |",
        "| --- | --- |",
        "| 1 | 1.000 |",
        "| 16 | 3.000 |",
    ]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        plot.main(["4=nowhere"])
    assert "expected NUMBER=RUN" in capsys.readouterr().err
