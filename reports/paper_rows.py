"""Which row of a paper's table a run is: by its name, as the YAMLs and the experiments give it, its split and inputs.

A run that departs from a row, such as by another solver or both of WSAC's kinds of strategies, has a name of its own
and no row.
"""

import re
from typing import NamedTuple

from reports.published import PAPERS, published
from reports.table import NOT_GIVEN

_END = r"(?:_paper)?(?:_seed\d+)?"  # of full size, of one seed
_DALI = re.compile(rf"(?:(?:dali|(?P<corpus>audiocaps|clotho))_(?P<row>\w+?)|image){_END}")
_DISTILLED = re.compile(rf"distillation_(?P<row>\w+?){_END}")
_GUIDED = re.compile(r"guided(?:_paper)?(?:_seed\d+)?_(?P<row>[\d.]+)")
_WSAC = re.compile(
    r"(?:wsac_(?P<corpus>audiocaps|clotho)|clap_prefix)(?:_paper)??"
    r"(?:_(?P<trained>baseline|noise_injection_paper|noise_injection|embedding_shift|supervised))?"
    r"(?:_(?:seed)?\d+)?(?:_(?P<decoded>nearest_neighbour|projection|reference))?"
)
WSAC_ROWS = {  # by the strategy in training and the one at inference
    ("baseline", ""): "baseline",
    ("noise_injection_paper", ""): "NI, paper's variance",
    ("embedding_shift", ""): "ES",
    ("baseline", "nearest_neighbour"): "NND",
    ("baseline", "projection"): "PD",
}


class PaperRow(NamedTuple):
    """A row that a paper prints: its numbers by metric, and where they stand."""

    numbers: dict[str, float]
    source: str


def paper_row(run_name: str, split: str, inputs: str | None = None) -> PaperRow | None:
    """What a paper prints for what a run tests; None where no row is of the same method, corpus and inputs.

    Args:
        run_name: of the run.
        split: such as audiocaps/test.
        inputs: what the captioner captioned from, "audio", "image" or "audio+image"; None does not compare it.
    """
    corpus, _, part = split.rpartition("/")
    if part != "test":
        return None
    paper, row = _row(run_name, corpus)
    numbers = published(paper, corpus).get(row) if row else None
    if numbers is None or (paper == "dali" and inputs not in (None, _inputs(row))):
        return None
    found = {metric: float(value) for metric, value in numbers.items() if value != NOT_GIVEN}
    return PaperRow(found, f"Paper: {PAPERS[paper]}'s row {row!r}")


def _row(run_name: str, corpus: str) -> tuple[str, str]:
    """The paper and the name of its row; "" where the name is of none."""
    if found := _GUIDED.fullmatch(run_name):
        return "audibility_guidance", found["row"]
    if found := _WSAC.fullmatch(run_name):
        # the YAML's own decoder has learnt captions of AudioCaps
        row = WSAC_ROWS.get((found["trained"] or "baseline", found["decoded"] or ""), "")
        return "wsac", row if corpus == (found["corpus"] or "audiocaps") else ""
    if found := _DISTILLED.fullmatch(run_name):
        return "dali", f"{found['row']}_distilled"
    found = _DALI.fullmatch(run_name)
    return "dali", (found["row"] or "image") if found and found["corpus"] in (None, corpus) else ""


def _inputs(row: str) -> str:
    """What DALI's row captions from."""
    return "image" if row == "image" else "audio+image" if "_image" in row else "audio"
