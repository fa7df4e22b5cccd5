"""python -m callbacks.audibility_sweep: captions guided with several lambda_2 in a table and a figure (Table 2)."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr

from callbacks.bootstrap import Estimate, bootstrap_weights
from callbacks.caption_metrics import measure
from callbacks.captions_file import captions_path
from callbacks.report import NO_DOCUMENTS, make_report, read_runs, show, write_report
from callbacks.scores import FILE_NAME, TOKENIZERS
from callbacks.word_scores import read_vocabulary, word_metrics
from errors import InputError, one_line_errors

COLUMNS = ("bleu_1", "bleu_4", "meteor", "rouge_l", "cider_d")
WORD_COLUMNS = ("recall", "verb_recall", "visual_share")
PAPER = "the paper's lambda_2 = 0, 0.015, 0.06, 0.15, 0.5 on AudioCaps: A 60.9, 62.8, 85.6, 95.8, 99.0%, CIDEr 7.9, 9.2, 8.5, 8.3, 7.2%"  # noqa: E501


def read_audibility(argument: str) -> float:
    """Metric A of a run that a ROW=run argument names."""
    path = captions_path(Path(argument.partition("=")[2])).with_name(FILE_NAME)
    value = json.loads(path.read_text()).get("audibility") if path.is_file() else None
    if value is None:
        raise InputError(f"expected metric A in {path}, found none; run test with callbacks.audibility_score")
    return float(value)


def draw(values: list[float], audibility: list[float], cider_d: list[Estimate], path: Path) -> None:
    """A and CIDEr-D, with its interval, against lambda_2."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    left.plot(values, audibility, "o-", color="tab:blue")
    left.set(xlabel="$\\lambda_2$", ylim=(0, 1.02))
    left.set_ylabel("A", color="tab:blue")
    right.plot(values, [found.value for found in cider_d], "s-", color="tab:orange")
    right.fill_between(
        values, [found.low for found in cider_d], [found.high for found in cider_d], color="tab:orange", alpha=0.2
    )
    right.set_ylabel("CIDEr-D", color="tab:orange")
    figure.savefig(path, dpi=120)


def sweep(options: argparse.Namespace) -> None:
    """Read, measure all runs at once, write table and figure."""
    runs = read_runs(options.runs)
    try:
        values = [float(name) for name in runs]
    except ValueError:
        raise InputError(f"expected numbers as in 0.06=runs/guided_0.06, found {', '.join(runs)}; correct it") from None
    if 0.0 not in values:
        raise InputError(f"expected a run with lambda_2 = 0 to compare with, found {', '.join(runs)}; add it")
    audibility = [read_audibility(argument) for argument in options.runs]
    rows = next(iter(runs.values()))
    captions = [run["captions"] for run in runs.values()]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    measured = measure(captions, rows["references"], options.output.parent, options.java)
    metrics = {key: measured.metrics[key] for key in COLUMNS if key in measured.metrics}
    if options.vocabulary is not None:
        words = word_metrics(captions, rows["labels"], read_vocabulary(options.vocabulary))
        metrics |= {key: words[key] for key in WORD_COLUMNS}
    weights = bootstrap_weights(len(rows["clip_ids"]), options.samples, options.seed)
    baseline = list(runs)[values.index(0.0)]
    lines = make_report({name: [run["captions"]] for name, run in runs.items()}, rows, baseline, metrics, weights)
    lines = [{"lambda_2": line.pop("row"), **line, "audibility": f"{a:.3f}"} for line, a in zip(lines, audibility)]
    notes = [
        f"Spearman's rank correlation of A with lambda_2: {spearmanr(values, audibility).statistic:.3f}",
        "95% percentile bootstrap intervals over clips, paired for differences; " + NO_DOCUMENTS,
        f"tokens by {TOKENIZERS[measured.tokenizer]}",
        PAPER,
    ]
    write_report(options.output, lines, notes, baseline)
    figure = options.output.with_suffix(".png")
    order = np.argsort(values).tolist()
    cider_d = [line["cider_d"] for line in lines]
    draw([values[i] for i in order], [audibility[i] for i in order], [cider_d[i] for i in order], figure)  # type: ignore
    show([{"row": line["lambda_2"], **line} for line in lines], notes, baseline)
    Console().print(f"written to {options.output}, its .csv and {figure}", soft_wrap=True, markup=False)


def main(args: Sequence[str] | None = None) -> None:
    """Table and figure of captions of the same clips, guided with several lambda_2."""
    parser = argparse.ArgumentParser(prog="python -m callbacks.audibility_sweep", description=main.__doc__)
    add = parser.add_argument
    add("runs", nargs="+", metavar="LAMBDA_2=RUN", help="a value and its run folder")
    add("--vocabulary", type=Path, help="JSON file of event and visual words, for scores by words")
    add("--samples", type=int, default=2000, help="bootstrap samples (%(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    add("--no-java", dest="java", action="store_false", help="leave METEOR and PTB out")
    add("--output", type=Path, default=Path("runs/audibility.md"), help="markdown; CSV and PNG go beside (%(default)s)")
    options = parser.parse_args(args)
    with one_line_errors():
        sweep(options)


if __name__ == "__main__":
    main()
