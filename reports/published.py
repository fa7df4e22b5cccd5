"""The papers' own numbers, as printed: papers.csv.

The column `table` is a table's number, "G" for DALI's appendix G, a section's number where a number stands in the text.
The rows are named as this project's commands name them; what a paper prints in per cent is a fraction.
"""

import csv
from pathlib import Path

FILE = Path(__file__).with_name("papers.csv")


def published(paper: str, corpus: str) -> dict[str, dict[str, float]]:
    """A paper's numbers on one corpus, by row and metric."""
    found: dict[str, dict[str, float]] = {}
    with open(FILE, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if (line["paper"], line["corpus"]) == (paper, corpus):
                found.setdefault(line["row"], {})[line["metric"]] = float(line["value"])
    return found
