"""python -m evaluation: score a captions file, or fetch the files that METEOR, SPICE and SPIDEr need."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from earshot.errors import InputError, one_line_errors
from earshot.provenance import provenance


def main(args: Sequence[str] | None = None) -> None:
    """Score a captions file (columns clip_id, caption and references, a JSON list); write scores.json beside it.

    Clips without references are named and not scored.
    """
    parser = argparse.ArgumentParser(prog="earshot score", description=main.__doc__)
    parser.add_argument("captions", type=Path, nargs="?", help="captions file, or a run folder that holds one")
    parser.add_argument("--vocabulary", type=Path, help="JSON file of event words and visual words; adds word scores")
    parser.add_argument("--no-java", dest="java", action="store_false", help="leave METEOR, SPICE and PTB out")
    parser.add_argument("--fetch", action="store_true", help="fetch the files of METEOR, SPICE and PTB first")
    options = parser.parse_args(args)
    with one_line_errors():
        if options.fetch:
            fetch()
        elif options.captions is None:
            raise InputError("expected a captions file, found none; name one, or --fetch")
        if options.captions is not None:
            score(options.captions, options.vocabulary, options.java)


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


def score(path: Path, vocabulary: Path | None, java: bool) -> None:
    """Score one captions file, print the table and write scores.json."""
    from evaluation.captions_file import captions_path, read_captions
    from evaluation.references import not_scored
    from evaluation.scores import score_rows
    from evaluation.word_scores import read_vocabulary

    words = None if vocabulary is None else read_vocabulary(vocabulary)
    captions = captions_path(path)
    scores = score_rows(read_captions(captions), captions.parent, words, java)
    Console().print(scores.table(f"scores of {captions}"))
    if scores.without_references:
        print(not_scored(scores.without_references, scores.num_clips))
    origin = provenance()
    again = {"scored_again_by": {"command": origin.pop("command"), "versions": origin}}
    print(f"written to {scores.write(captions.parent, again)}")


if __name__ == "__main__":
    main()
