"""The papers' own numbers, in papers.csv, and which of them stand beside a run."""

import csv
import re
from pathlib import Path

PUBLISHED = Path(__file__).with_name("papers.csv")
PAPERS = {"dali": "DALI", "wsac": "WSAC", "audibility_guidance": "Audibility guidance"}
# how runs are named around the row's own name: dali_ot_seed42, audiocaps_ot_distilled_paper_seed1, guided_seed42_0.06
_AROUND = re.compile(r"^(?:dali|audiocaps|clotho|wsac_[a-z]+)_|_paper|_seed\d+$")
_GUIDED = re.compile(r"^guided(?:_paper)?(?:_seed\d+)?_([\d.]+)$")


def published(paper: str, corpus: str) -> dict[str, dict[str, float]]:
    """A paper's own numbers on one corpus, as printed: by row and metric, from papers.csv.

    Its column `table` is a table's number, "G" for DALI's appendix G, a section's number where a number stands in the
    text. The rows are named as this project's commands name them; what a paper prints in per cent is a fraction.
    """
    found: dict[str, dict[str, float]] = {}
    with open(PUBLISHED, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if (line["paper"], line["corpus"]) == (paper, corpus):
                found.setdefault(line["row"], {})[line["metric"]] = float(line["value"])
    return found


def published_row(run_name: str, split: str) -> tuple[dict[str, float], str]:
    """The paper's numbers for what a run of this name tests, by metric, and where they stand; nothing and "" elsewhere.

    Args:
        run_name: as the experiments name their runs.
        split: such as audiocaps/test.
    """
    corpus, _, part = split.rpartition("/")
    if part != "test":
        return {}, ""
    guided = _GUIDED.match(run_name)
    row = guided[1] if guided else _AROUND.sub("", run_name)
    papers = ["audibility_guidance"] if guided else ["wsac"] if run_name.startswith("wsac_") else ["dali"]
    for paper in papers:
        if row in (found := published(paper, corpus)):
            return found[row], f"Paper: {PAPERS[paper]}'s row {row!r}"
    return {}, ""
