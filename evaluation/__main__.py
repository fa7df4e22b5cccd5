"""python -m evaluation: score a captions file, or fetch the files that METEOR, SPICE and SPIDEr need."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from earshot.errors import InputError, one_line_errors, require_apart
from earshot.provenance import provenance


def main(args: Sequence[str] | None = None) -> None:
    """Score a captions file; write scores.json, and scores.csv with the scores of each clip, beside it.

    The file is a CSV with columns clip_id, caption and references (a JSON list), DCASE's submission, aac-metrics'
    table, COCO's results (.json) or JSON Lines (.jsonl). Clips without references are named and not scored. The scores
    of mine.csv go to mine.scores.json and mine.scores.csv.
    """
    parser = argparse.ArgumentParser(prog="earshot score", description=main.__doc__)
    add = parser.add_argument
    add("captions", type=Path, nargs="?", help="captions file, or a run folder that holds one")
    add("--references", type=Path, metavar="TABLE", help="Clotho's, AudioCaps' or another table of the references")
    add(
        "--metrics",
        default="",
        metavar="NAME[=MODEL],...",
        help="more scores, by models: fense, spider_fl, or sbert_sim and fer, of which these two are made; MODEL is a "
        "folder or hub id in place of the usual one, as in sbert_sim=FOLDER,fer=FOLDER",
    )
    add("--vocabulary", type=Path, help="JSON file of event words and visual words; adds word scores")
    add("--submission", type=Path, metavar="FILE", help="also write the captions as a CSV that DCASE takes")
    add("--no-java", dest="java", action="store_false", help="leave METEOR, SPICE and PTB out")
    add("--fetch", action="store_true", help="fetch the files of METEOR, SPICE and PTB first")
    options = parser.parse_args(args)
    with one_line_errors():
        if options.fetch:
            fetch()
        elif options.captions is None:
            raise InputError("expected a captions file, found none; name one, or --fetch")
        if options.captions is not None:
            score(options)


def fetch() -> None:
    """Fetch the files of the Java metrics that are missing."""
    from evaluation import java_files

    print("METEOR, SPICE and the PTB tokenizer: looking for their files (about 490 MB the first time)", flush=True)
    folder = java_files.cache_folder()
    try:
        fetched = java_files.fetch()
    except OSError as error:
        advice = "make room or set AAC_METRICS_CACHE_PATH to another folder"
        raise InputError(f"expected to write to {folder}, found: {error}; {advice}") from None
    print(f"{len(fetched)} files fetched, all are in {folder}")


def score(options: argparse.Namespace) -> None:
    """Score one captions file, print the table and write the scores."""
    from evaluation.captions_file import captions_path, read_captions, write_submission
    from evaluation.references import not_scored
    from evaluation.scores import lacking, score_rows
    from evaluation.scores_file import read_clip_scores, read_scores, with_scores
    from evaluation.sentence_models import named_models
    from evaluation.word_scores import read_vocabulary

    words = None if options.vocabulary is None else read_vocabulary(options.vocabulary)
    models = named_models(options.metrics)
    captions = captions_path(options.captions)
    require_apart([options.submission], [*with_scores(captions), options.references, options.vocabulary])
    rows = read_captions(captions, options.references)
    read_scores(captions), read_clip_scores(captions, rows)  # those that are there must be readable
    if options.submission is not None:
        write_submission(options.submission, rows)
    scores = score_rows(rows, captions.parent, words, options.java, models)
    origin = provenance()
    again = {"scored_again_by": {"command": origin.pop("command"), "versions": origin}}
    written = scores.write(captions, again)
    Console().print(scores.table(f"scores of {captions}"))
    for line in lacking(scores.not_computed):
        print(line)
    if scores.without_references:
        print(not_scored(scores.without_references, scores.num_clips))
    print(f"written to {written} and {written.with_suffix('.csv').name}")


if __name__ == "__main__":
    main()
