"""python -m reports.compare: several runs' captions of the same clips in one table, with intervals."""

import argparse
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from rich.console import Console

from datamodules.clips import CaptionRows
from earshot.errors import InputError, one_line_errors
from evaluation.bootstrap import bootstrap_weights, derangement, training_draws
from evaluation.caption_metrics import measure
from evaluation.captions_file import captions_path, read_captions, read_split
from evaluation.scores import TITLES, TOKENIZERS, require_references
from evaluation.word_scores import read_vocabulary, word_metrics
from reports.logged_values import logged_values, read_titles
from reports.table import Spread, make_report, show, titles, write_report

COLUMNS = ("bleu_4", "rouge_l", "cider_d", "meteor", "spice", "spider")
WORD_COLUMNS = ("precision", "recall", "verb_recall", "visual_share")
NO_DOCUMENTS = "in a resampled corpus CIDEr-D and SPIDEr keep the document frequencies of all clips"


def best_constant_caption(rows: CaptionRows, java: bool = True) -> str:
    """Of a train or val list's references, the one with the highest CIDEr-D when said of every clip there."""
    require_references(rows)
    sentences = [reference for group in rows["references"] for reference in group]
    tokens = dict(zip(sentences, tokenize(sentences, java)[0]))
    cider = CiderD([[tokens[reference] for reference in group] for group in rows["references"]])
    return max(dict.fromkeys(sentences), key=lambda sentence: cider.score_everywhere(tokens[sentence]))


def in_order(rows: CaptionRows, clip_ids: Sequence[str], row: str, first: str) -> CaptionRows:
    """The rows in the given order of clips; an InputError where they are not those clips."""
    if different := set(rows["clip_ids"]) ^ set(clip_ids):
        raise InputError(
            f"expected the same clips in every run, found {len(different)} that only one of {first!r} and "
            f"{row!r} has; test both on the same split"
        )
    place = {clip_id: index for index, clip_id in enumerate(rows["clip_ids"])}
    order = [place[clip_id] for clip_id in clip_ids]
    return CaptionRows(
        clip_ids=[rows["clip_ids"][index] for index in order],
        captions=[rows["captions"][index] for index in order],
        references=[rows["references"][index] for index in order],
        labels=[rows["labels"][index] for index in order],
    )


def read_rows(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """ROW=RUN1,RUN2 arguments: for each row the captions files of its trainings."""
    rows: dict[str, list[Path]] = {}
    for argument in arguments:
        name, _, runs = argument.partition("=")
        if not (name and all(runs.split(","))):
            raise InputError(
                f"expected ROW=RUN or ROW=RUN1,RUN2, found {argument!r}; name the row, as in "
                "aligned=runs/dali_ot/test-1"
            )
        if name in rows:
            raise InputError(f"expected every row once, found {name!r} twice; give them different names")
        rows[name] = [captions_path(Path(run)) for run in runs.split(",")]
        if len({path.resolve() for path in rows[name]}) < len(rows[name]):
            raise InputError(f"expected every training once, found a run twice in {argument!r}; name each once")
    return rows


def read_runs(rows: dict[str, list[Path]]) -> dict[str, list[CaptionRows]]:
    """Read the captions files of every row; all hold the same clips, and are given in the same order."""
    runs: dict[str, list[CaptionRows]] = {}
    first: CaptionRows | None = None
    first_name = ""
    for row, paths in rows.items():
        runs[row] = []
        for path in paths:
            name = row if len(paths) == 1 else f"{row}: {path}"
            found = read_captions(path)
            require_references(found)
            found = in_order(found, first["clip_ids"] if first else sorted(found["clip_ids"]), name, first_name)
            if first is None:
                first, first_name = found, name
            if found["references"] != first["references"]:
                raise InputError(
                    f"expected the same references in {first_name!r} and {name!r}, found others; test both again"
                )
            runs[row].append(found)
    return runs


def interval_notes(runs: dict[str, list[CaptionRows]]) -> list[str]:
    """What the brackets hold."""
    if all(len(group) == 1 for group in runs.values()):
        return ["95% percentile bootstrap intervals over clips, not over trainings; " + NO_DOCUMENTS]
    return [
        "95% percentile bootstrap intervals over clips and, in rows of several trainings, over these too (two levels); "
        + NO_DOCUMENTS,
        "a row of several trainings has their mean, and in parentheses the lowest and the highest of them; resampling "
        "K trainings shows (K-1)/K of the variance between them: with few, the intervals are too narrow",
    ]


def guesses(
    options: argparse.Namespace, runs: dict[str, list[CaptionRows]]
) -> tuple[dict[str, list[list[str]]], list[str]]:
    """The rows that need no model run, and a note on each: constant and random captions, shuffled sounds."""
    rows = next(iter(runs.values()))[0]
    number = len(rows["clip_ids"])
    rng = np.random.default_rng(options.seed)
    systems: dict[str, list[list[str]]] = {}
    notes = []
    if options.constant_from is not None:
        source = options.constant_from
        other = read_captions(source) if source.is_file() else read_split(source)
        if shared := set(other["clip_ids"]) & set(rows["clip_ids"]):
            raise InputError(
                f"expected a train or val list without the clips under test, found {len(shared)} of them in "
                f"{source}; name another, a caption chosen on the clips that it is scored on proves nothing"
            )
        caption = best_constant_caption(other, options.java)
        systems["best constant"] = [[caption] * number]
        pool = [reference for group in other["references"] for reference in group]
        systems["random caption"] = [list(rng.choice(pool, number)) for _ in range(options.shuffles)]
        clips = len(other["clip_ids"])
        notes.append(f"best constant: {caption!r}, the best one on the captions of {clips} other clips")
        notes.append(f"random caption: any of the same captions, mean of {options.shuffles} draws")
    if options.shuffle is not None:
        if number < 2:
            raise InputError("expected two clips or more to shuffle, found one; leave --shuffle out")
        trainings = cycle(runs[options.shuffle])
        orders = [derangement(number, rng) for _ in range(options.shuffles)]
        name = f"{options.shuffle}, shuffled"
        systems[name] = [[run["captions"][index] for index in order] for order, run in zip(orders, trainings)]
        in_turn = ", of the trainings in turn" if len(runs[options.shuffle]) > 1 else ""
        notes.append(f"{name}: the caption of another clip's sound, mean of {options.shuffles} permutations{in_turn}")
    return systems, notes


def report(options: argparse.Namespace) -> None:
    """Read, measure all rows at once, and write."""
    vocabulary = None if options.vocabulary is None else read_vocabulary(options.vocabulary)
    logged_titles = read_titles(options.logged)
    paths = read_rows(options.runs)
    for name in filter(None, (options.against, options.shuffle)):
        if name not in paths:
            raise InputError(f"expected one of the rows {', '.join(paths)}, found {name!r}; correct the name")
    runs = read_runs(paths)
    logged = logged_values(paths, list(logged_titles))
    rows = next(iter(runs.values()))[0]
    without_model, notes = guesses(options, runs)
    systems = {name: [run["captions"] for run in group] for name, group in runs.items()} | without_model
    flat = [captions for group in systems.values() for captions in group]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    measured = measure(flat, rows["references"], options.output.parent, options.java)
    metrics = {key: measured.metrics[key] for key in COLUMNS if key in measured.metrics}
    if vocabulary is not None:
        words = word_metrics(flat, rows["labels"], vocabulary)
        metrics |= {key: words[key] for key in WORD_COLUMNS}
    notes += interval_notes(runs)
    notes.append(f"tokens by {TOKENIZERS[measured.tokenizer]}")
    for key, reason in measured.not_computed.items():
        notes.append(f"{TITLES[key]} not computed: {reason}")
    weights = bootstrap_weights(len(rows["clip_ids"]), options.samples, options.seed)
    rng = np.random.default_rng([options.seed, 1])  # a stream of its own: the clips are drawn alike either way
    draws = {name: training_draws(len(group), options.samples, rng) for name, group in runs.items()}
    lines = make_report({name: len(group) for name, group in systems.items()}, draws, options.against, metrics, weights)
    for key, title in logged_titles.items():
        notes.append(f"{title}: the last {key} that the newest fit or validate beside the test logged")
        for line in lines:
            values = logged.get(str(line["row"]), {}).get(key)
            line[key] = Spread(tuple(values)) if values else "-"
    headings = titles(options.against) | logged_titles
    write_report(options.output, lines, notes, headings)
    show(lines, notes, headings)
    Console().print(
        f"written to {options.output} and {options.output.with_suffix('.csv')}", soft_wrap=True, markup=False
    )


def main(args: Sequence[str] | None = None) -> None:
    """Compare runs that captioned the same clips: one table with bootstrap intervals, as markdown and CSV.

    A row is one run, or several trainings of one method (other seeds): their mean, its interval over clips and
    trainings.
    """
    parser = argparse.ArgumentParser(prog="python -m reports.compare", description=main.__doc__)
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="ROW=RUN[,RUN...]",
        help="a row's name and a run folder or captions file; several, with commas, are trainings of one method",
    )
    add("--against", metavar="ROW", help="add paired differences of CIDEr-D and verb recall from this row")
    add(
        "--constant-from",
        type=Path,
        help="train or val split folder or captions file: adds rows of its best caption and of random ones",
    )
    add("--shuffle", metavar="ROW", help="add a row with this row's captions permuted among the clips")
    add("--shuffles", type=int, default=20, help="permutations and draws to average (%(default)s)")
    add("--vocabulary", type=Path, help="JSON file of event and visual words, for scores by words")
    add(
        "--logged",
        action="append",
        default=[],
        metavar="KEY=TITLE",
        help="add the last value of KEY in metrics.csv of the newest fit or validate beside each test, in "
        "runs/<run_name>; repeatable",
    )
    add("--samples", type=int, default=2000, help="bootstrap samples (%(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap and the shuffles (%(default)s)")
    add("--no-java", dest="java", action="store_false", help="leave METEOR, SPICE and PTB out")
    add(
        "--output",
        type=Path,
        default=Path("runs/report.md"),
        help="markdown file; a CSV goes beside it (%(default)s)",
    )
    options = parser.parse_args(args)
    with one_line_errors():
        report(options)


if __name__ == "__main__":
    main()
