"""python -m reports paper: DALI's rows as measured here beside the paper's, and which of its claims hold."""

import argparse
import csv
import math
from pathlib import Path

from earshot.errors import InputError
from evaluation.bootstrap import Estimate
from evaluation.scores import TITLES
from reports.origin import section_of
from reports.page import add_page, write_page
from reports.published import published
from reports.table import Cell, Line

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
METRICS = ("bleu_4", "meteor", "rouge_l", "cider", "spice", "spider")  # of the paper's tables
OURS = (*(metric.replace("cider", "cider_d") for metric in METRICS), "verb_recall", "visual_share")
THEIRS = {metric: f"{TITLES.get(metric, 'CIDEr')}, paper" for metric in METRICS}
Scores = dict[str, dict[str, float]]  # by row, then by column

# (corpus, a, b): the paper says that a's CIDEr-D is above b's
ORDER = (
    ("audiocaps", "image", "image_without_prefix"),
    ("audiocaps", "image", "best constant"),
    *(("audiocaps", name, "contrastive") for name in ("attentive_ot", "mmd", "ot")),
    *((corpus, f"{name}_distilled", name) for corpus in ("audiocaps", "clotho") for name in
      ("attentive_ot", "ot", "contrastive", "mmd")),
    ("audiocaps", "attentive_ot_image", "attentive_ot"),
    ("audiocaps", "attentive_ot_image_distilled", "attentive_ot_distilled"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    for corpus in ("audiocaps", "clotho"):
        parser.add_argument(f"--{corpus}", type=Path, help=f"CSV of `python -m reports compare` on {corpus}/test")
    add_page(parser, "runs/dali.md")


def run(options: argparse.Namespace) -> None:
    """Read the reports, set the paper's numbers beside them, judge the claims."""
    files = {"audiocaps": options.audiocaps, "clotho": options.clotho}
    scores = {corpus: read_report(path) for corpus, path in files.items() if path is not None}
    if not scores:
        raise InputError("expected a report's CSV, found none; give --audiocaps, --clotho or both")
    lines = [line for corpus, ours in scores.items() for line in lines_of(corpus, ours)]
    empty = {key for key in lines[0] if all(line[key] == "-" for line in lines)}
    lines = [{key: cell for key, cell in line.items() if key not in empty} for line in lines]
    measured = ["the paper's numbers: DALI, Tables 1 and 3 and appendix G"]
    for corpus in scores:
        measured += [f"{corpus}: {entry}" for entry in section_of(files[corpus].with_suffix(".md"))]
    headings = TITLES | {f"paper_{key}": title for key, title in THEIRS.items()}
    write_page(options, lines, headings, claims(scores), measured)


def read_report(path: Path) -> Scores:
    """The numbers of a report's CSV by its column `row`; empty cells are left out.

    Raises:
        InputError: no such file, or not of this form.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        return {line.pop("row"): {key: float(value) for key, value in line.items() if value} for line in lines}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"expected a report's CSV at {path}, found {error!r}; make it: python -m reports compare"
        ) from None


def lines_of(corpus: str, ours: Scores) -> list[Line]:
    """A line for each row that was measured, in the paper's order."""
    theirs = published("dali", corpus)
    names = [*(name for name in ROWS if name in ours), *(name for name in ours if name not in ROWS)]
    return [
        {"row": ROWS.get(name, name), "corpus": corpus, "N": f"{ours[name].get('N', math.nan):g}"}
        | {key: _cell(ours[name], key) for key in OURS}
        | {f"paper_{key}": _cell(theirs.get(name, {}), key) for key in THEIRS}
        for name in names
    ]


def _cell(scores: dict[str, float], key: str) -> Cell:
    """A number of ours with its interval, one of the paper's as it was printed."""
    if key not in scores:
        return "-"
    if f"{key}_low" in scores:
        return Estimate(scores[key], scores[f"{key}_low"], scores[f"{key}_high"])
    return f"{scores[key]:.4f}"


def claims(scores: dict[str, Scores]) -> list[str]:
    """For each of the paper's claims whether it holds here; claims about rows that were not measured are left out.

    Where the intervals of two rows overlap the entry says so: their order then rests on the values alone.
    """
    found = []
    for corpus, above, below in ORDER:
        ours = scores.get(corpus, {})
        if above in ours and below in ours:
            a, b = ours[above], ours[below]
            overlap = min(a["cider_d_high"], b["cider_d_high"]) >= max(a["cider_d_low"], b["cider_d_low"])
            found.append(
                f"{_verdict(a['cider_d'] > b['cider_d'])}{', the intervals overlap' if overlap else ''}: on {corpus} "
                f"CIDEr-D of {ROWS[above]} ({a['cider_d']:.3f}) above {ROWS[below]} ({b['cider_d']:.3f})"
            )
    ours = scores.get("audiocaps", {})
    shares = [ours.get(name, {}).get("visual_share") for name in ("image", "image_without_prefix")]
    if shares[0] is not None and shares[1]:
        found.append(
            f"{_verdict(shares[0] <= shares[1] / 5)}: the prefix removes the visual words from at least 4 of 5 "
            f"captions that have some without it (share {shares[1]:.3f} to {shares[0]:.3f})"
        )
    return found


def _verdict(holds: bool) -> str:
    return "holds" if holds else "does NOT hold"
