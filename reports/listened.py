"""python -m reports listened: what the raters of a listening test preferred, and how far they agree."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.caption_table import read_rows
from earshot.errors import InputError, require_apart
from evaluation.bootstrap import Estimate, bootstrap_weights, estimate
from reports.agreement import krippendorff_alpha
from reports.page import add_page, page_files, write_page
from reports.table import Line, at_least

COLUMNS = ("page", "rater", "clip_id", "question", "left", "right", "answer")
NONE = "no preference"
GRADES = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Answers:
    """Answers to one question about one run or two.

    Attributes:
        question: as the raters read it.
        runs: one whose captions were graded, or two to choose between.
        values: (R, N) float, of R raters on N clips: grades, or the place of the run chosen in `runs`, 2 for neither;
            nan where there is no answer.
    """

    question: str
    runs: tuple[str, ...]
    values: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("answers", nargs="+", type=Path, metavar="CSV", help="what raters saved of a page of `listen`")
    parser.add_argument("--samples", type=at_least(1), default=2000, help="bootstrap samples (%(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the bootstrap (%(default)s)")
    add_page(parser, "runs/listened.md")


def run(options: argparse.Namespace) -> None:
    """Read, and write the table."""
    require_apart(page_files(options.output), options.answers)
    found = read_answers(options.answers)
    if len({len(each.runs) for each in found}) > 1:
        raise InputError("expected answers of one kind, found choices and grades; give them to two commands")
    questions = list(dict.fromkeys(each.question for each in found))
    lines = [
        {"question": str(questions.index(each.question) + 1), **line}
        for each in found
        for line in lines_of(each, options.samples, options.seed)
    ]
    pair = len(found[0].runs) == 2
    notes = [
        *(f"question {number}: {question}" for number, question in enumerate(questions, 1)),
        "brackets: 95% percentile bootstrap intervals over raters and clips, both drawn with replacement (Owen, 2007)",
        "over raters: mean and standard deviation of the raters' own " + ("shares" if pair else "mean grades"),
        "agreement: Krippendorff's alpha of " + ("choices (nominal)" if pair else "grades (ordinal)")
        + ": 1 where all agree, 0 as by chance",
    ]  # fmt: skip
    raters, clips = (max(each.values.shape[axis] for each in found) for axis in (0, 1))
    measured = [f"raters: {raters}, clips: N = {clips}; {options.samples} samples, seed {options.seed}"]
    headings = {"value": "preferred" if pair else "grade", "over_raters": "over raters"}
    write_page(options, lines, headings, notes, measured)


def read_answers(paths: Sequence[Path]) -> list[Answers]:
    """The answers of several files, by question and runs.

    Raises:
        InputError: a file of another form, two answers of a rater to the same, or answers of two pages, of which one
            may show other captions by the same names.
    """
    pages: dict[tuple[str, tuple[str, ...]], str] = {}
    given: dict[tuple[str, tuple[str, ...]], dict[tuple[str, str], float]] = {}
    for path in paths:
        rows = read_rows(path, "answers", "save them from a page of: python -m reports listen")
        if absent := [column for column in COLUMNS if column not in rows[0]]:
            raise InputError(
                f"expected columns {', '.join(COLUMNS)} in {path}, found no {absent[0]}; save the answers anew"
            )
        for row in rows:
            runs = tuple(sorted(filter(None, (row["left"], row["right"]))))
            known: Mapping[str, float] = {grade: float(grade) for grade in GRADES}
            if len(runs) == 2:
                known = {runs[0]: 0.0, runs[1]: 1.0, NONE: 2.0}
            if not runs or row["answer"] not in known:
                raise InputError(
                    f"expected {', '.join(known)} as answer to clip {row['clip_id']!r} in {path}, found "
                    f"{row['answer']!r}; correct it, or take the row out"
                )
            if pages.setdefault((row["question"], runs), row["page"]) != row["page"]:
                raise InputError(
                    f"expected answers about {' and '.join(runs)} from one page, found those of another in {path}; "
                    "give them to two commands"
                )
            answers = given.setdefault((row["question"], runs), {})
            value, where = known[row["answer"]], (row["rater"], row["clip_id"])
            if answers.setdefault(where, value) != value:
                raise InputError(
                    f"expected one answer of rater {row['rater']!r} to clip {row['clip_id']!r}, found another in "
                    f"{path}; leave the older file out, or name the raters apart"
                )
    found = []
    for (question, names), answers in given.items():
        raters, clips = ({name: place for place, name in enumerate(sorted(set(each)))} for each in zip(*answers))
        values = np.full((len(raters), len(clips)), np.nan)
        for (rater, clip), value in answers.items():
            values[raters[rater], clips[clip]] = value
        found.append(Answers(question, names, values))
    return found


def lines_of(answers: Answers, samples: int, seed: int) -> list[Line]:
    """A line for each run, and one for no preference."""
    pair = len(answers.runs) == 2
    alpha = krippendorff_alpha(answers.values, "nominal" if pair else "ordinal")
    lines: list[Line] = []
    for place, name in enumerate((*answers.runs, NONE) if pair else answers.runs):
        values = np.where(np.isnan(answers.values), np.nan, answers.values == place) if pair else answers.values
        of_raters = np.nanmean(values, axis=1)
        spread = f" ± {of_raters.std(ddof=1):.3f}" if len(of_raters) > 1 else ""
        lines.append(
            {
                "run": name, "value": mean_over(values, samples, seed),
                "over_raters": f"{of_raters.mean():.3f}{spread}",
                "agreement": "-" if np.isnan(alpha) else f"{alpha:.3f}",
                "answers": str(np.count_nonzero(~np.isnan(values))),
            }
        )  # fmt: skip
    return lines


def mean_over(values: np.ndarray, samples: int, seed: int) -> Estimate:
    """The mean of answers (R, N), nan where there is none, with its interval over raters and clips.

    Raters and clips are resampled on their own, and an answer counts as often as its rater times its clip (Owen, "The
    pigeonhole bootstrap", 2007).
    """
    there = (~np.isnan(values)).astype(float)
    raters = bootstrap_weights(len(values), samples, seed)  # (B, R)
    clips = bootstrap_weights(values.shape[1], samples, seed + 1)  # (B, N)
    sums = ((raters @ np.nan_to_num(values)) * clips).sum(1)  # (B,)
    counts = ((raters @ there) * clips).sum(1)
    with np.errstate(invalid="ignore"):
        return estimate(float(np.nanmean(values)), sums / counts)
