"""What the papers print, beside what was measured here: numbers from papers.csv, captions from papers_captions.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from evaluation.scores import TITLES
from reports.table import NOT_GIVEN, Line

NUMBERS = Path(__file__).with_name("papers.csv")
CAPTIONS = Path(__file__).with_name("papers_captions.csv")
OTHER_TITLES = {"cider": "CIDEr", "bleu": "BLEU", "spider_share": "share of the best supervised SPIDEr"}
PAPERS = {"dali": "DALI", "wsac": "WSAC", "audibility_guidance": "Audibility guidance"}
Published = dict[str, dict[str, str]]  # by row, then by metric


def published(paper: str, corpus: str) -> Published:
    """A paper's numbers on one corpus as printed, or `n/a` where its text lacks them: by row and metric.

    The column `table` of papers.csv is a table's number, "G" for DALI's appendix G, a section's number where a number
    stands in the text. The rows are named as this project's reports name them; what a paper prints in per cent is a
    fraction. An empty value is a cell that the text of the paper, which is all that this project has, does not give.
    """
    found: Published = {}
    with open(NUMBERS, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if (line["paper"], line["corpus"]) == (paper, corpus):
                found.setdefault(line["row"], {})[line["metric"]] = line["value"] or NOT_GIVEN
    return found


def published_captions(table: str) -> dict[str, dict[str, str]]:
    """The captions of a table of DALI's: by ground truth, then by criterion."""
    found: dict[str, dict[str, str]] = {}
    with open(CAPTIONS, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["table"] == table:
                found.setdefault(line["reference"], {})[line["row"]] = line["caption"]
    return found


def beside(lines: Sequence[Line], theirs: Published) -> list[Line]:
    """The table with a column for each metric that a paper prints, and a row for each that only the paper has."""
    metrics = list(dict.fromkeys(metric for row in theirs.values() for metric in row))
    names = [line["row"] for line in lines]
    only_theirs: list[Line] = [{**dict.fromkeys(lines[0], "-"), "row": name} for name in theirs if name not in names]
    return [
        line | {f"paper_{metric}": theirs.get(str(line["row"]), {}).get(metric, NOT_GIVEN) for metric in metrics}
        for line in (*lines, *only_theirs)
    ]


def paper_titles(theirs: Published) -> dict[str, str]:
    """The headings of the columns that `beside` adds."""
    metrics = {metric for row in theirs.values() for metric in row}
    return {f"paper_{metric}": f"{OTHER_TITLES.get(metric) or TITLES[metric]}, paper" for metric in metrics}
