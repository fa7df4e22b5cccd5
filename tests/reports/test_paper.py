"""DALI's rows beside the paper's, the examples and the plot, through their commands."""

import csv
import json
from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from evaluation.captions_file import write_captions
from evaluation.word_scores import read_vocabulary
from reports.__main__ import main
from reports.published import PUBLISHED, published


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
    main(["paper", "--audiocaps", str(tmp_path / "a.csv"), "--output", str(tmp_path / "dali.md")])
    text = (tmp_path / "dali.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| attentive OT, distilled |")]
    assert "2.000 [1.900, 2.100]" in line and line.endswith("| 0.2441 | 0.0743 | 0.1592 |")  # Tables 1 and 5
    (image,) = [line for line in text.splitlines() if line.startswith("| image only, without prefix |")]
    assert image.endswith("| - | - | - | - | - | - |")  # the paper has no such row
    said = [line for line in text.splitlines() if line.startswith("- ")]
    assert "- does NOT hold: on audiocaps CIDEr-D of attentive OT (0.500) above contrastive (1.000)" in said
    assert "- holds, the intervals overlap: on audiocaps CIDEr-D of MMD (1.050) above contrastive (1.000)" in said
    assert "- holds: on audiocaps CIDEr-D of attentive OT, distilled (2.000) above attentive OT (0.500)" in said
    assert any(line.startswith("- holds: the prefix removes the visual words from at least 4 of 5") for line in said)
    assert not any("clotho" in line for line in said)
    with pytest.raises(SystemExit):
        main(["paper", "--clotho", str(tmp_path / "none.csv")])
    assert "make it: python -m reports compare" in capsys.readouterr().err


def test_the_papers_table_is_as_published() -> None:
    """SPIDEr is the mean of CIDEr and SPICE in every row, but for one of the paper's, which is off by .0011."""
    tables = {corpus: published("dali", corpus) for corpus in ("audiocaps", "clotho")}
    assert [len(table) for table in tables.values()] == [10, 8]
    for row in (row for table in tables.values() for row in table.values()):
        assert row.keys() == {"bleu_4", "meteor", "rouge_l", "cider", "spice", "spider"}
        assert row["spider"] == pytest.approx((row["cider"] + row["spice"]) / 2, abs=1.2e-3), row


def test_every_published_number_is_a_fraction_and_stands_once() -> None:
    with open(PUBLISHED, newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["paper"] for line in lines} == {"dali", "wsac", "audibility_guidance"}
    assert len({tuple(list(line.values())[:-1]) for line in lines}) == len(lines)
    assert all(0 < float(line["value"]) < 1 for line in lines)
    # audibility guidance, Table 2: A never falls by more than rounding as lambda_2 grows
    rows = published("audibility_guidance", "audiocaps")
    assert list(map(float, rows)) == sorted(map(float, rows)) and len(rows) == 14
    guided = [row["audibility"] for row in rows.values()]
    assert guided[0] == 0.609 and guided[-1] == 0.99
    assert all(later >= earlier - 0.001 - 1e-9 for earlier, later in zip(guided, guided[1:]))


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
    main(["examples", f"MMD={first}", f"OT={second}", "--vocabulary", str(words), "--output", str(out)])
    lines = out.read_text().splitlines()
    assert lines[0] == "| a reference | MMD | OT |"
    assert lines[2:4] == ["| a dog barks | a red dog | a bell |", "| a dog barks | a dog | a cat |"]
    assert "- MMD: 0.500 of 2 captions have a word for what is only seen" in lines
    with pytest.raises(SystemExit):
        main(["examples", f"MMD={first}", f"other={captions(tmp_path / 'three', {'z': 'a'})}"])
    assert "expected runs of the same clips" in capsys.readouterr().err


def test_the_plot_averages_the_runs_of_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("p1", 1.0), ("p16", 2.0), ("p16b", 4.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text(json.dumps({"cider_d": value, "rouge_l": None}))
    pairs = [f"16={tmp_path / 'p16'},{tmp_path / 'p16b'}", f"1={tmp_path / 'p1'}"]
    main(["plot", *pairs, "--label", "pairs", "--output", str(tmp_path / "plot.png")])
    assert (tmp_path / "plot.md").read_text().splitlines()[:4] == [
        "| pairs | CIDEr-D |",
        "|---|---|",
        "| 1 | 1.000 |",
        "| 16 | 3.000 |",
    ]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    for wrong, told in (("four=nowhere", "expected NUMBER=RUN"), ("4=nowhere", "expected scores at")):
        with pytest.raises(SystemExit):
            main(["plot", wrong])
        assert told in capsys.readouterr().err
