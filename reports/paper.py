"""python -m reports.paper: DALI's rows as measured here beside the paper's, and which of its claims hold."""

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from earshot.errors import InputError, one_line_errors

PAPER = Path(__file__).parents[1] / "configs/paper/dali_results.csv"
ROWS = {  # as `make dali` names them, in the order of the paper's tables
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
OURS = {"cider_d": "CIDEr-D", "spider": "SPIDEr", "verb_recall": "verb recall", "visual_share": "visual words"}
THEIRS = {"cider": "CIDEr, paper", "spider": "SPIDEr, paper"}
Scores = dict[str, dict[str, float]]  # by row, then by column

# (corpus, a, b): a's CIDEr-D is said to be above b's
ORDER = (
    ("audiocaps", "image", "image_without_prefix"),
    ("audiocaps", "image", "best constant"),
    *(("audiocaps", name, "contrastive") for name in ("attentive_ot", "mmd", "ot")),
    *((corpus, f"{name}_distilled", name) for corpus in ("audiocaps", "clotho") for name in
      ("attentive_ot", "ot", "contrastive", "mmd")),
    ("audiocaps", "attentive_ot_image", "attentive_ot"),
    ("audiocaps", "attentive_ot_image_distilled", "attentive_ot_distilled"),
)  # fmt: skip


def read_scores(path: Path) -> Scores:
    """The numbers of a CSV by its column `row`; empty cells are left out.

    Raises:
        InputError: no such file, or no such column.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        return {line.pop("row"): {key: float(value) for key, value in line.items() if value} for line in lines}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"expected a report's CSV at {path}, found {error!r}; make it: python -m reports.compare"
        ) from None


def read_paper(path: Path, corpus: str) -> Scores:
    """The paper's numbers of one corpus."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["corpus"] == corpus]
    return {line["row"]: {key: float(line[key]) for key in THEIRS} for line in lines}


def cell(scores: dict[str, float], key: str) -> str:
    """A number with its interval where it has one."""
    if math.isnan(scores.get(key, math.nan)):
        return "-"
    if f"{key}_low" in scores:
        return f"{scores[key]:.3f} [{scores[f'{key}_low']:.3f}, {scores[f'{key}_high']:.3f}]"
    return f"{scores[key]:.4f}"


def table_lines(ours: Scores, paper: Scores) -> list[list[str]]:
    """A line for each row that was measured, in the paper's order."""
    names = [*(name for name in ROWS if name in ours), *(name for name in ours if name not in ROWS)]
    return [
        [
            ROWS.get(name, name),
            *(cell(ours[name], key) for key in OURS),
            *(cell(paper.get(name, {}), key) for key in THEIRS),
        ]
        for name in names
    ]


def claims(scores: dict[str, Scores]) -> list[str]:
    """What the paper says of the order of rows, and whether it is so here; rows that are missing make no claim.

    Where the intervals of the two rows overlap the line says so: the order then rests on the values alone.
    """
    found = []
    for corpus, above, below in ORDER:
        ours = scores.get(corpus, {})
        if above in ours and below in ours:
            a, b = ours[above], ours[below]
            holds = a["cider_d"] > b["cider_d"]
            overlap = min(a["cider_d_high"], b["cider_d_high"]) >= max(a["cider_d_low"], b["cider_d_low"])
            found.append(
                f"{'holds' if holds else 'does NOT hold'}{', the intervals overlap' if overlap else ''}: on {corpus} "
                f"CIDEr-D of {ROWS[above]} ({a['cider_d']:.3f}) above {ROWS[below]} ({b['cider_d']:.3f})"
            )
    ours = scores.get("audiocaps", {})
    shares = [ours.get(name, {}).get("visual_share") for name in ("image", "image_without_prefix")]
    if shares[0] is not None and shares[1]:
        holds = shares[0] <= shares[1] / 5
        found.append(
            f"{'holds' if holds else 'does NOT hold'}: the prefix turns at least 4 of 5 captions with visual words "
            f"into none (share {shares[1]:.3f} to {shares[0]:.3f})"
        )
    return found


def main(args: Sequence[str] | None = None) -> None:
    """Set DALI's rows, as `make dali` measured them, beside the paper's, and say which of its claims hold here."""
    parser = argparse.ArgumentParser(prog="python -m reports.paper", description=main.__doc__)
    parser.add_argument("--audiocaps", type=Path, help="CSV of python -m reports.compare on AudioCaps")
    parser.add_argument("--clotho", type=Path, help="likewise on Clotho")
    parser.add_argument("--paper", type=Path, default=PAPER, help="the paper's numbers (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/dali.md"), help="markdown file (%(default)s)")
    options = parser.parse_args(args)
    with one_line_errors():
        files = {corpus: getattr(options, corpus) for corpus in ("audiocaps", "clotho")}
        scores = {corpus: read_scores(path) for corpus, path in files.items() if path is not None}
        if not scores:
            raise InputError("expected a report's CSV, found none; give --audiocaps, --clotho or both")
        console, text = Console(), []
        for corpus, ours in scores.items():
            head = [corpus, *OURS.values(), *THEIRS.values()]
            lines = table_lines(ours, read_paper(options.paper, corpus))
            text += [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines)] + [""]
            shown = Table(*head)
            for line in lines:
                shown.add_row(*line)
            console.print(shown)
        notes = claims(scores)
        text += [f"- {note}" for note in notes]
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(text) + "\n", encoding="utf-8")
        for note in [*notes, f"written to {options.output}"]:
            console.print(note, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
