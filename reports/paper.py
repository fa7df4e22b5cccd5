"""python -m reports paper: DALI's rows as measured here beside the paper's, and which of its claims hold."""

import argparse
import csv
import math
from itertools import chain
from pathlib import Path

from earshot.errors import InputError, require_apart
from evaluation.bootstrap import Estimate
from evaluation.scores import TITLES
from reports.origin import section_of
from reports.page import add_page, page_files, write_page
from reports.published import beside, paper_titles, published
from reports.table import NOT_GIVEN, Cell, Line

ROWS = {  # as the DALI pipeline names them, in the order of the paper's tables
    "image": "image only, with prefix",
    "image_without_prefix": "image only, without prefix",
    "image_written_prompt": "image only, written prompt",
    "best constant": "best constant caption",
    "attentive_ot_image": "audio + image",
    "attentive_ot_image_distilled": "audio + image, distilled",
    "attentive_ot": "attentive OT",
    "attentive_ot_distilled": "attentive OT, distilled",
    "mmd": "MMD",
    "mmd_distilled": "MMD, distilled",
    "ot": "OT",
    "ot_distilled": "OT, distilled",
    "contrastive": "contrastive",
    "contrastive_distilled": "contrastive, distilled",
}
COMPETITORS = {  # of the paper's tables, whose numbers there are these papers' own
    "audibility guidance (Shaharabany et al.)": ("audibility_guidance", "0.015"),
    "ZerAuCap (Salewski et al.)": ("zeraucap", "ZerAuCap"),
}
METRICS = ("bleu_4", "meteor", "rouge_l", "cider", "spice", "spider")  # of the paper's tables
OURS = (*(metric.replace("cider", "cider_d") for metric in METRICS), "verb_recall", "visual_share")
ENDS = ("", "_low", "_high")  # of a column: the score and its interval
EMPTY = (None, "", "nan")
Scores = dict[str, dict[str, float]]  # by row, then by column

# (corpus, a, b): the score of a is above that of b. What the paper says (section 5 and Table 1) ...
CLAIMS = (
    *(("audiocaps", name, "contrastive") for name in ("attentive_ot", "mmd", "ot")),
    *((corpus, f"{name}_distilled", name) for corpus in ("audiocaps", "clotho") for name in
      ("attentive_ot", "ot", "contrastive")),
    *(("audiocaps", "attentive_ot_distilled", f"{name}_distilled") for name in ("mmd", "ot", "contrastive")),
    ("audiocaps", "attentive_ot_image_distilled", "attentive_ot_distilled"),
    ("clotho", "mmd", "attentive_ot"),
    ("clotho", "mmd_distilled", "attentive_ot_distilled"),
)  # fmt: skip
# ... and checks of this project's own
CHECKS = (
    ("audiocaps", "image", "image_without_prefix"),
    ("audiocaps", "image", "best constant"),
    ("audiocaps", "attentive_ot_image", "attentive_ot"),
)
LESS_TAUGHT = ("mmd", "attentive_ot")  # the paper: the first gains less by distillation than the second


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    for corpus in ("audiocaps", "clotho"):
        parser.add_argument(f"--{corpus}", type=Path, help=f"CSV of `python -m reports compare` on {corpus}/test")
    add_page(parser, "runs/dali.md")


def run(options: argparse.Namespace) -> None:
    """Read the reports, set the paper's numbers beside them, judge the claims."""
    files = {"audiocaps": options.audiocaps, "clotho": options.clotho}
    given = [path for path in files.values() if path is not None]
    require_apart(page_files(options.output), chain(*map(page_files, given)))
    scores = {corpus: read_report(path) for corpus, path in files.items() if path is not None}
    if not scores:
        raise InputError("expected a report's CSV, found none; give --audiocaps, --clotho or both")
    lines = [line for corpus, ours in scores.items() for line in lines_of(corpus, ours)]
    empty = {key for key in lines[0] if all(line[key] == "-" for line in lines)}
    lines = [{key: cell for key, cell in line.items() if key not in empty} for line in lines]
    measured = ["the paper's numbers: DALI, Tables 1 and 3 and appendix G"]
    for corpus in scores:
        measured += [f"{corpus}: {entry}" for entry in section_of(files[corpus].with_suffix(".md"))]
    write_page(options, lines, TITLES | paper_titles(published("dali", "audiocaps")), claims(scores), measured)


def read_report(path: Path) -> Scores:
    """The numbers of a report's CSV by its column `row`; cells that are empty or nan are left out.

    Raises:
        InputError: no such file, or not of this form.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        read = [f"{key}{end}" for key in ("N", *OURS) for end in ENDS]
        return {line["row"]: {key: float(line[key]) for key in read if line.get(key) not in EMPTY} for line in lines}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"expected a report's CSV at {path}, found {error!r}; make it: python -m reports compare"
        ) from None


def lines_of(corpus: str, ours: Scores) -> list[Line]:
    """A line for each row that was measured, in the paper's order, and one for each that only the paper has."""
    names = [*(name for name in ROWS if name in ours), *(name for name in ours if name not in ROWS)]
    lines: list[Line] = [
        {"row": ROWS.get(name, name), "corpus": corpus, "N": f"{ours[name].get('N', math.nan):g}"}
        | {key: _cell(ours[name], key) for key in OURS}
        for name in names
    ]
    theirs = {ROWS[name]: row for name, row in published("dali", corpus).items()}
    for name, (paper, row) in COMPETITORS.items():
        found = published(paper, corpus).get(row, {})
        theirs |= {name: {key: found.get(key, NOT_GIVEN) for key in METRICS}} if found else {}
    return [line | {"corpus": corpus} for line in beside(lines, theirs)]


def _cell(scores: dict[str, float], key: str) -> Cell:
    """A number with its interval, where it has one."""
    if key not in scores:
        return "-"
    if all(f"{key}{end}" in scores for end in ENDS):
        return Estimate(*(scores[f"{key}{end}"] for end in ENDS))
    return f"{scores[key]:.4f}"


def claims(scores: dict[str, Scores]) -> list[str]:
    """For each of the paper's claims whether it holds here, by SPIDEr or, where that was not computed, by CIDEr-D; then
    checks that the paper does not make. What is about rows that were not measured is left out.

    Where the intervals of two rows overlap the entry says so: their order then rests on the values alone.
    """
    found = [_above(scores, *claim) for claim in CLAIMS]
    found += [_gains_less(corpus, ours) for corpus, ours in scores.items()]
    found += [f"our own check, {entry}" for check in CHECKS if (entry := _above(scores, *check))]
    ours = scores.get("audiocaps", {})
    shares = [ours.get(name, {}).get("visual_share") for name in ("image", "image_without_prefix")]
    if shares[0] is not None and shares[1]:
        found.append(
            f"our own check, {_verdict(shares[0] <= shares[1] / 5)}: the prefix removes the visual words from at least "
            f"4 of 5 captions that have some without it (share {shares[1]:.3f} to {shares[0]:.3f})"
        )
    return [entry for entry in found if entry]


def _above(scores: dict[str, Scores], corpus: str, above: str, below: str) -> str:
    """Whether one row's score is above another's; nothing where one, or its interval, was not measured."""
    a, b = (scores.get(corpus, {}).get(name, {}) for name in (above, below))
    key = _key(a, b)
    if not all(f"{key}{end}" in row for row in (a, b) for end in ENDS):
        return ""
    overlap = min(a[f"{key}_high"], b[f"{key}_high"]) >= max(a[f"{key}_low"], b[f"{key}_low"])
    return (
        f"{_verdict(a[key] > b[key])}{', the intervals overlap' if overlap else ''}: on {corpus} {TITLES[key]} of "
        f"{ROWS[above]} ({a[key]:.3f}) above {ROWS[below]} ({b[key]:.3f})"
    )


def _gains_less(corpus: str, ours: Scores) -> str:
    """Whether distillation gives less to MMD than to attentive optimal transport."""
    rows = [ours.get(f"{name}{stage}", {}) for name in LESS_TAUGHT for stage in ("", "_distilled")]
    key = _key(*rows)
    if not all(key in row for row in rows):
        return ""
    less, more = rows[1][key] - rows[0][key], rows[3][key] - rows[2][key]
    return (
        f"{_verdict(less < more)}: on {corpus} distillation gives {ROWS[LESS_TAUGHT[0]]} less {TITLES[key]} "
        f"({less:+.3f}) than {ROWS[LESS_TAUGHT[1]]} ({more:+.3f})"
    )


def _key(*rows: dict[str, float]) -> str:
    return "spider" if all("spider" in row for row in rows) else "cider_d"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "does NOT hold"
