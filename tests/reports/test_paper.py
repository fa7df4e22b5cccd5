"""DALI's rows beside the paper's, the examples and the plot, through their commands."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datamodules.clips import CaptionRows
from earshot.drawing import drawn
from evaluation.captions_file import write_captions
from evaluation.word_scores import read_vocabulary
from reports import plot
from reports.__main__ import main
from reports.paper import claims
from reports.published import NUMBERS, published


def report(path: Path, values: dict[str, tuple[float, float]]) -> None:
    """A report's CSV: CIDEr-D within +-0.1, and the share of visual words."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "N", "cider_d", "cider_d_low", "cider_d_high", "visual_share", "texts read"])
        for row, (cider_d, visual) in values.items():
            writer.writerow([row, 300, cider_d, cider_d - 0.1, cider_d + 0.1, visual, "its own captions"])


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
    assert image.endswith("| n/a | n/a | n/a | n/a | n/a | n/a |")  # the paper has no such row
    (other,) = [line for line in text.splitlines() if line.startswith("| audibility guidance (Shaharabany et al.) |")]
    assert other.endswith("| n/a | 0.086 | 0.082 | 0.092 | n/a | n/a |")  # as in Table 5
    (zeraucap,) = [line for line in text.splitlines() if line.startswith("| ZerAuCap (Salewski et al.) |")]
    assert zeraucap.endswith("| 0.068 | 0.123 | 0.331 | 0.281 | 0.086 | 0.183 |")
    (only,) = [line for line in text.splitlines() if line.startswith("| MMD, distilled |")]  # not measured here
    assert only.startswith("| MMD, distilled | audiocaps | - |") and only.endswith("| 0.1991 | 0.0729 | 0.1360 |")
    said = [line for line in text.splitlines() if line.startswith("- ")]
    assert "- does NOT hold: on audiocaps CIDEr-D of attentive OT (0.500) above contrastive (1.000)" in said
    assert "- holds, the intervals overlap: on audiocaps CIDEr-D of MMD (1.050) above contrastive (1.000)" in said
    assert "- holds: on audiocaps CIDEr-D of attentive OT, distilled (2.000) above attentive OT (0.500)" in said
    ours = [line for line in said if line.startswith("- our own check, holds: ")]
    assert any(
        "CIDEr-D of image only, with prefix (4.000) above best constant caption (0.600)" in line for line in ours
    )
    assert any("the prefix removes the visual words from at least 4 of 5" in line for line in ours)
    assert not any("clotho" in line for line in said)
    with pytest.raises(SystemExit):
        main(["paper", "--clotho", str(tmp_path / "none.csv")])
    assert "make it: python -m reports compare" in capsys.readouterr().err


def test_claims_about_what_was_not_computed_are_left_out(tmp_path: Path) -> None:
    """Of one clip there is no CIDEr-D, and intervals may be missing."""
    clip = captions(tmp_path / "run", {"x": "a dog barks"})
    names = ("attentive_ot", "attentive_ot_distilled", "mmd", "mmd_distilled")
    main(["compare", *(f"{name}={clip}" for name in names), "--no-java", "--output", str(tmp_path / "own.md")])
    rows = "".join(f"{name},1,0.5,0.4,,nan\n" for name in (*names, "image", "image_without_prefix"))
    (tmp_path / "bare.csv").write_text(f"row,N,cider_d,cider_d_low,cider_d_high,visual_share\n{rows}")
    for name, said in (("own", 0), ("bare", 1)):
        main(["paper", "--audiocaps", str(tmp_path / f"{name}.csv"), "--output", str(tmp_path / "out" / f"{name}.md")])
        claims = (tmp_path / "out" / f"{name}.md").read_text().partition("##")[0]
        assert claims.count("hold") == claims.count("distillation gives MMD less") == said


def test_the_papers_table_is_as_published() -> None:
    """SPIDEr is the mean of CIDEr and SPICE in every row, but for one of the paper's, which is off by .0011."""
    tables = {corpus: published("dali", corpus) for corpus in ("audiocaps", "clotho")}
    assert [len(table) for table in tables.values()] == [10, 8]
    for row in (row for table in tables.values() for row in table.values()):
        assert row.keys() == {"bleu_4", "meteor", "rouge_l", "cider", "spice", "spider"}
        values = {metric: float(value) for metric, value in row.items()}
        assert values["spider"] == pytest.approx((values["cider"] + values["spice"]) / 2, abs=1.2e-3), row


@pytest.mark.parametrize("metric", ["spider", "cider_d"])
def test_the_papers_claims_hold_of_its_own_numbers(metric: str) -> None:
    """All of them, by either score; and none of the checks of our own is among them."""
    scores = {
        corpus: {
            row: {f"{metric}{end}": float(found[metric.removesuffix("_d")]) for end in ("", "_low", "_high")}
            for row, found in published("dali", corpus).items()
        }
        for corpus in ("audiocaps", "clotho")
    }
    said = claims(scores)
    assert len(said) == 3 + 6 + 3 + 1 + 2 + 2 and all(entry.startswith("holds: on ") for entry in said)


def test_every_published_number_is_a_fraction_and_stands_once() -> None:
    with open(NUMBERS, newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["paper"] for line in lines} == {"dali", "wsac", "audibility_guidance", "zeraucap"}
    assert len({tuple(list(line.values())[:-1]) for line in lines}) == len(lines)
    assert all(0 < float(line["value"]) < 1 for line in lines if line["value"])
    assert {line["paper"] for line in lines if not line["value"]} == {"wsac"}  # whose table the text does not have
    # audibility guidance, Table 2: A never falls by more than rounding as lambda_2 grows
    rows = published("audibility_guidance", "audiocaps")
    assert list(map(float, rows)) == sorted(map(float, rows)) and len(rows) == 14
    guided = [float(row["audibility"]) for row in rows.values()]
    assert guided[0] == 0.609 and guided[-1] == 0.99
    assert all(later >= earlier - 0.001 - 1e-9 for earlier, later in zip(guided, guided[1:]))


def captions(path: Path, texts: dict[str, str], reference: str = "a dog barks") -> Path:
    path.mkdir(parents=True)
    rows = CaptionRows(
        clip_ids=list(texts), captions=list(texts.values()), references=[[reference]] * len(texts),
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
    main(["examples", f"mmd={first}", "--published", "2", "--output", str(out)])
    lines = out.read_text().splitlines()
    assert lines[0] == "| a reference | mmd | mmd, paper | attentive_ot, paper |" and lines[8].count("n/a") == 1
    bell = captions(tmp_path / "bell", {"b": "a gong"}, "A bell is ringing.")
    main(["examples", f"mmd={bell}", "--published", "2", "--output", str(out)])
    theirs = "A person and a dog standing in front of a large machine."
    assert f"| A bell is ringing | a gong | {theirs} | Bell |" in out.read_text().splitlines()
    with pytest.raises(SystemExit):
        main(["examples", f"MMD={first}", f"other={captions(tmp_path / 'three', {'z': 'a'})}"])
    assert "expected runs of the same clips" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["0", "1", "10"], ["-10", "0", "0.5"], ["0"], ["1", "10", "100"]])
def test_every_number_has_its_place_on_the_plots_axis(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the numbers, and as far apart as the eye needs."""
    panels = []

    @contextmanager
    def kept(*args: Any, **options: Any) -> Iterator[Any]:
        with drawn(*args, **options) as axes:
            panels.append(axes[0, 0])
            yield axes

    monkeypatch.setattr(plot, "drawn", kept)
    pairs = [f"{name}={captions(tmp_path / name, {'x': 'a dog barks', 'y': 'rain'})}" for name in names]
    main(["plot", "--no-java", "--output", str(tmp_path / "plot.png"), "--", *pairs])
    on_axis = panels[0].transData - panels[0].transAxes
    places = [on_axis.transform((float(name), 0))[0] for name in names]
    assert all(0 <= place <= 1 for place in places)
    assert all(right - left > 0.1 for left, right in zip(places, places[1:]))


def test_the_plot_averages_the_runs_of_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, half = {"x": "a dog barks", "y": "a dog barks"}, {"x": "a dog barks", "y": "rain"}
    runs = {name: captions(tmp_path / name, texts) for name, texts in (("a", half), ("b", right), ("c", right))}
    pairs = [f"16={runs['b']},{runs['a']}", f"1={runs['a']}", f"64={runs['c']}"]
    main(["plot", *pairs, "--label", "pairs", "--no-java", "--output", str(tmp_path / "plot.png")])
    with open(tmp_path / "plot.csv", newline="") as file:
        rows = {line["row"]: line for line in csv.DictReader(file)}
    assert list(rows) == ["1", "16", "64"]
    assert [float(row["rouge_l"]) for row in rows.values()] == pytest.approx([0.5, 0.75, 1.0])
    assert [row["trainings"] for row in rows.values()] == ["1", "2", "1"]
    text = (tmp_path / "plot.md").read_text()
    assert text.startswith("| pairs | N | training runs | BLEU-4 | ROUGE-L | CIDEr-D |")
    assert "SPIDEr not computed" in text  # in the figure, too, where Java is there
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    for wrong, told in (
        (["four=nowhere"], "expected different, finite numbers, as in"),
        (["1=nowhere", "nan=nowhere"], "expected different, finite numbers, as in"),
        (["1=nowhere", "1.0=nowhere"], "found 1, 1.0; correct them"),
        (["4=nowhere"], "expected a captions file at"),
    ):
        with pytest.raises(SystemExit):
            main(["plot", *wrong])
        assert told in capsys.readouterr().err
