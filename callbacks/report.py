"""python -m callbacks.report: several runs' captions of the same clips in one table, with intervals."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from callbacks.bootstrap import Estimate, bootstrap_weights, derangement, estimate
from callbacks.caption_metrics import CiderD, Metric, measure, tokenize
from callbacks.captions_file import read_captions, read_split
from callbacks.scores import TITLES, TOKENIZERS, require_references
from callbacks.word_scores import read_vocabulary, word_metrics
from datamodules.clips import CaptionRows
from errors import InputError, one_line_errors

COLUMNS = ("bleu_4", "rouge_l", "cider_d", "meteor", "spice", "spider")
WORD_COLUMNS = ("precision", "recall", "verb_recall", "visual_share")
COMPARED = ("cider_d", "verb_recall")
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


def read_runs(arguments: Sequence[str]) -> dict[str, CaptionRows]:
    """Read ROW=run_dir arguments; all rows hold the same clips in the same order."""
    runs: dict[str, CaptionRows] = {}
    first = ""
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise InputError(
                f"expected ROW=run_dir, found {argument!r}; name the row, as in aligned=runs/dali_ot/test-1"
            )
        if name in runs:
            raise InputError(f"expected every row once, found {name!r} twice; give them different names")
        rows = read_captions(Path(path))
        require_references(rows)
        first = first or name
        runs[name] = in_order(rows, runs[first]["clip_ids"] if runs else sorted(rows["clip_ids"]), name, first)
        if runs[name]["references"] != runs[first]["references"]:
            raise InputError(f"expected the same references in {first!r} and {name!r}, found others; test both again")
    return runs


def make_report(
    systems: dict[str, list[list[str]]],
    rows: CaptionRows,
    against: str | None,
    metrics: dict[str, Metric],
    weights: np.ndarray,
) -> list[dict[str, Estimate | str]]:
    """One line for each row name; a row that averages several systems (shuffles) averages their scores.

    Args:
        systems: for each row its lists of N captions, in the order of the metrics' R systems.
        rows: of the N clips.
        against: the row that differences are taken from, sample by sample (paired).
        metrics: statistics (R, N, S).
        weights: (B, N) of `bootstrap_weights`.
    """
    ends = np.cumsum([len(captions) for captions in systems.values()])
    parts = {name: slice(end - len(captions), end) for (name, captions), end in zip(systems.items(), ends, strict=True)}
    values = {key: metric.scores for key, metric in metrics.items()}  # (R,)
    samples = {key: metric.resampled(weights) for key, metric in metrics.items()}  # (B, R)
    lines: list[dict[str, Estimate | str]] = []
    for name, part in parts.items():
        line: dict[str, Estimate | str] = {"row": name, "N": str(len(rows["clip_ids"]))}
        for key in metrics:
            line[key] = estimate(float(values[key][part].mean()), samples[key][:, part].mean(1))
        for key in COMPARED:
            if against is not None and key in metrics:
                other = parts[against]
                gap = values[key][part].mean() - values[key][other].mean()
                paired = samples[key][:, part].mean(1) - samples[key][:, other].mean(1)
                line[f"{key}_difference"] = estimate(float(gap), paired) if name != against else "-"
        lines.append(line)
    return lines


def write_report(path: Path, lines: list[dict[str, Estimate | str]], notes: list[str], against: str | None) -> None:
    """Write the table as markdown, and as CSV beside it with the intervals in columns of their own."""
    titles = [title(key, against) for key in lines[0]]
    table = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    table += [f"| {' | '.join(map(str, line.values()))} |" for line in lines]
    path.write_text("\n".join([*table, "", *(f"- {note}" for note in notes)]) + "\n", encoding="utf-8")
    with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        cells: list[dict[str, str]] = [{} for _ in lines]
        for line, cell in zip(lines, cells):
            for key, found in line.items():
                if isinstance(found, Estimate):
                    cell |= {
                        key: repr(found.value),
                        f"{key}_low": repr(found.low),
                        f"{key}_high": repr(found.high),
                    }
                elif found != "-":
                    cell[key] = found
        writer = csv.DictWriter(file, max(cells, key=len))
        writer.writeheader()
        writer.writerows(cells)


def title(key: str, against: str | None) -> str:
    """The heading of a column."""
    name = key.removesuffix("_difference")
    return f"{TITLES[name]} minus {against}'s" if name != key else TITLES.get(key, key)


def show(lines: list[dict[str, Estimate | str]], notes: list[str], against: str | None) -> None:
    """Print the table turned on its side, so that it fits a terminal."""
    table = Table(caption=escape("\n".join(notes)), caption_justify="left")
    table.add_column("")
    for line in lines:
        table.add_column(escape(str(line["row"])), justify="right", overflow="fold")
    for key in list(lines[0])[1:]:
        cells = (line[key] for line in lines)
        table.add_row(title(key, against), *(cell.narrow() if isinstance(cell, Estimate) else cell for cell in cells))
    Console().print(table)


def guesses(options: argparse.Namespace, runs: dict[str, CaptionRows]) -> tuple[dict[str, list[list[str]]], list[str]]:
    """The rows that need no model run, and a note on each: constant and random captions, shuffled sounds."""
    rows = next(iter(runs.values()))
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
        captions = runs[options.shuffle]["captions"]
        orders = [derangement(number, rng) for _ in range(options.shuffles)]
        name = f"{options.shuffle}, shuffled"
        systems[name] = [[captions[index] for index in order] for order in orders]
        notes.append(f"{name}: the caption of another clip's sound, mean of {options.shuffles} permutations")
    return systems, notes


def report(options: argparse.Namespace) -> None:
    """Read, measure all rows at once, and write."""
    vocabulary = None if options.vocabulary is None else read_vocabulary(options.vocabulary)
    runs = read_runs(options.runs)
    for name in filter(None, (options.against, options.shuffle)):
        if name not in runs:
            raise InputError(f"expected one of the rows {', '.join(runs)}, found {name!r}; correct the name")
    rows = next(iter(runs.values()))
    without_model, notes = guesses(options, runs)
    systems = {name: [run["captions"]] for name, run in runs.items()} | without_model
    flat = [captions for group in systems.values() for captions in group]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    measured = measure(flat, rows["references"], options.output.parent, options.java)
    metrics = {key: measured.metrics[key] for key in COLUMNS if key in measured.metrics}
    if vocabulary is not None:
        words = word_metrics(flat, rows["labels"], vocabulary)
        metrics |= {key: words[key] for key in WORD_COLUMNS}
    notes.append("95% percentile bootstrap intervals over clips; " + NO_DOCUMENTS)
    notes.append(f"tokens by {TOKENIZERS[measured.tokenizer]}")
    for key, reason in measured.not_computed.items():
        notes.append(f"{TITLES[key]} not computed: {reason}")
    weights = bootstrap_weights(len(rows["clip_ids"]), options.samples, options.seed)
    lines = make_report(systems, rows, options.against, metrics, weights)
    write_report(options.output, lines, notes, options.against)
    show(lines, notes, options.against)
    Console().print(
        f"written to {options.output} and {options.output.with_suffix('.csv')}", soft_wrap=True, markup=False
    )


def main(args: Sequence[str] | None = None) -> None:
    """Compare runs that captioned the same clips: one table with bootstrap intervals, as markdown and CSV."""
    parser = argparse.ArgumentParser(prog="python -m callbacks.report", description=main.__doc__)
    add = parser.add_argument
    add("runs", nargs="+", metavar="ROW=RUN", help="a row's name and a run folder or captions file")
    add("--against", metavar="ROW", help="add paired differences of CIDEr-D and verb recall from this row")
    add(
        "--constant-from",
        type=Path,
        help="train or val split folder or captions file: adds rows of its best caption and of random ones",
    )
    add("--shuffle", metavar="ROW", help="add a row with this row's captions permuted among the clips")
    add("--shuffles", type=int, default=20, help="permutations and draws to average (%(default)s)")
    add("--vocabulary", type=Path, help="JSON file of event and visual words, for scores by words")
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
