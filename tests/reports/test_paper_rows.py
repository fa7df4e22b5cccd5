"""Runs stand beside the row of their own method, corpus and inputs, or beside none."""

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY
from scored_run import HOSTILE, run_folder

from reports.__main__ import main
from reports.paper_rows import paper_row
from reports.published import published


def row_of(name: str, corpus: str = "audiocaps", inputs: str | None = None) -> str | None:
    found = paper_row(name, f"{corpus}/test", inputs)
    return found and found.source.partition("row ")[2].strip("'\"")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("dali_ot", "ot"),
        ("dali_ot_seed42", "ot"),
        ("audiocaps_ot_paper_seed2", "ot"),
        ("audiocaps_attentive_ot_image_distilled_seed1", "attentive_ot_image_distilled"),
        ("distillation_attentive_ot", "attentive_ot_distilled"),
        ("image", "image"),
        ("audiocaps_image_seed42", "image"),
        ("guided_seed42_0.06", "0.06"),
        ("guided_paper_seed1_0", "0"),
        ("clap_prefix", "baseline"),
        ("wsac_audiocaps_baseline_42", "baseline"),
        ("wsac_audiocaps_noise_injection_paper_1", "NI, paper's variance"),
        ("wsac_audiocaps_paper_noise_injection_paper_1", "NI, paper's variance"),
        ("wsac_audiocaps_paper_embedding_shift_1", "ES"),
        ("clap_prefix_nearest_neighbour", "NND"),
        ("wsac_audiocaps_baseline_42_projection", "PD"),
    ],
)
def test_names_that_have_a_row(name: str, row: str) -> None:
    assert row_of(name) == row


@pytest.mark.parametrize(
    "name",
    [
        "dali_ot_sinkhorn", "ot", "x", "audiocaps_image_without_prefix", "audiocaps_attentive_ot_16_pairs_seed1",
        "audiocaps_attentive_ot_image_seed1", "wsac_audiocaps_noise_injection_1", "wsac_audiocaps_supervised_1",
        "wsac_audiocaps_embedding_shift_1_projection", "wsac_audiocaps_baseline_1_reference", "clotho_ot_seed1",
        "clap_prefix_authors", "wsac_clotho_baseline_1", "guided_seed1_0.07", "keywords_seed1",
    ],
)  # fmt: skip
def test_names_that_have_none(name: str) -> None:
    assert row_of(name) is None


def test_the_corpus_the_part_and_the_inputs_have_to_fit() -> None:
    assert paper_row("dali_ot", "audiocaps/val") is None
    assert row_of("wsac_clotho_baseline_1_projection", "clotho") == "PD" and row_of("clap_prefix", "clotho") is None
    assert row_of("dali_ot", inputs="audio") == "ot" and row_of("dali_ot", inputs="audio+image") is None
    assert row_of("image", inputs="image") == "image" and row_of("image", inputs="audio") is None


def test_every_row_of_the_pipeline_that_the_papers_have_is_found() -> None:
    """The rows' names stand in the pipelines' tables; those that a paper prints are found by the runs' names."""
    text = (REPOSITORY / "pipelines" / "wsac.smk").read_text()
    rows = dict(re.findall(r'^    "(.+)": "(\w+_\{seed\}\w*)"', text, re.M))
    assert len(rows) >= 6
    for row in rows.keys() & published("wsac", "audiocaps").keys():
        assert row_of(f"wsac_audiocaps_{rows[row].format(seed=3)}") == row
    for corpus in ("audiocaps", "clotho"):
        for row in published("dali", corpus):
            assert row_of(f"{corpus}_{row}_seed42", corpus) == row
    numbers = paper_row("dali_ot", "audiocaps/test")
    assert numbers is not None and numbers.numbers["spider"] == 0.1183


def test_a_row_without_numbers_is_said_and_adds_no_column(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    scores = (folder / "scores.json").read_text().replace("corpus/test", "audiocaps/test")
    (folder / "scores.json").write_text(scores)
    (folder / "config.yaml").write_text("run_name: clap_prefix_projection\n")
    main(["html", str(folder)])
    text = (folder / "report.html").read_text()
    assert "Paper: WSAC&#39;s row &#39;PD&#39;; the text of the paper gives none of these scores for it." in text
    assert '<th scope="col">paper</th>' not in text
    (folder / "config.yaml").write_text("run_name: dali_ot\n")
    main(["html", str(folder)])
    text = (folder / "report.html").read_text()
    assert '<th scope="col">paper</th>' in text and "DALI&#39;s row &#39;ot&#39;." in text
