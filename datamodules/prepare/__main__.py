"""earshot prepare folder --input DIR --output ROOT/corpus/split [--captions table.csv], and others."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from earshot.errors import one_line_errors
from earshot.signals import SIGNALS

MEDIA = (
    "Files may be audio or video of any usual format: wav, flac, mp3, ogg, opus, aiff, m4a, mp4, webm, mkv and others. "
    "Stored are 16-bit mono audio and, of videos, the first frame of each of ten seconds as JPEG of quality 95. Every "
    "clip and file that is left out is counted, and named with the reason in report.csv beside the shards. The same "
    "command continues an interrupted one, with the same bytes as if it had not been interrupted."
)
CORPORA = {
    "folder": (
        "pack a folder of audio files, images and videos into shards",
        "Pack every audio file, with the image of the same name where there is one (jpg, png), and every video of a "
        "folder and its subfolders. A clip's id is its path without the ending.",
    ),
    "audioset": (
        "pack AudioSet, by its lists of segments",
        "Pack the clips of balanced_train_segments.csv, unbalanced_train_segments.csv or eval_segments.csv, with their "
        "labels. Files are called by the YouTube id, alone or after a Y, and may go on with _START or _START_END. A "
        "file longer than its clip is cut at the clip's start.",
    ),
    "audiocaps": (
        "pack AudioCaps, by its own tables or WavCaps' copies",
        "Pack the clips of AudioCaps' train.csv, val.csv or test.csv, with their captions. Files are called by the "
        "YouTube id, alone or after a Y, and may go on with _START or _START_END. A file longer than ten seconds is "
        "cut at the clip's start, which only AudioCaps' own tables have.",
    ),
    "clotho": (
        "pack Clotho, by its tables of captions",
        "Pack the files of clotho_captions_development.csv or of another of Clotho's tables, with their captions.",
    ),
    "wavcaps": (
        "pack WavCaps, by its JSON files",
        "Pack the clips of fsd_final.json, bbc_final.json, sb_final.json and as_final.json, or of some of them, with "
        "their captions. Files are called by the clip's id.",
    ),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default the process's."""
    parser = argparse.ArgumentParser("earshot prepare", description="Prepare data to train and test on.")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, (summary, description) in CORPORA.items():
        corpus = commands.add_parser(name, help=summary, description=f"{description} {MEDIA}")
        if name == "folder":
            corpus.add_argument(
                "--captions",
                type=Path,
                help="table of file_name (or clip_id, id, youtube_id) and caption, or caption_1, caption_2",
            )
        else:
            corpus.add_argument(
                "--table", type=Path, nargs="+", required=True, help="the corpus's own table, or several"
            )
        if name == "audioset":
            corpus.add_argument(
                "--classes", type=Path, help="class_labels_indices.csv; default: the one beside the table"
            )
            corpus.add_argument(
                "--no-exclude",
                action="store_true",
                help="keep the clips that AudioCaps has in validation and test; without it, --exclude is required",
            )
        corpus.add_argument(
            "--exclude",
            type=Path,
            nargs="+",
            help="lists of clips to leave out, such as AudioCaps' val.csv and test.csv, so that no model is tested on "
            "what it was trained on: tables, text files of one id a line, or WavCaps' JSON blacklists",
        )
        add_packing_arguments(corpus)
    audibility = commands.add_parser(
        "audibility",
        help="write audible and inaudible sentences with a language model",
        description="Sample the audibility classifier's training sentences with the paper's prompt. The same command "
        "resumes a killed run.",
    )
    audibility.add_argument("--model", required=True, help="folder or hub id of a causal language model")
    audibility.add_argument("--output", type=Path, required=True, help="folder of audible.txt and inaudible.txt")
    audibility.add_argument("--count", type=int, default=7000, help="sentences of each class; default: %(default)s")
    audibility.add_argument("--seed", type=int, default=0, help="of the sampling; default: %(default)s")
    audibility.add_argument("--batch-size", type=int, default=16, help="answers sampled at once; default: %(default)s")
    audibility.add_argument("--device", help="such as cuda:1; default: a GPU where there is one")
    audibility.add_argument(
        "--max-new-tokens", type=int, default=128, help="longest answer, in tokens; default: %(default)s"
    )
    nearest = commands.add_parser(
        "nearest",
        help="list the clips whose images are nearest to their labels",
        description="Keep the clips with the smallest distances between captions of their images and their labels, as "
        "DALI filters AudioSet. A histogram of all distances is drawn beside the list. Train on it with --data.ids.",
    )
    nearest.add_argument("--distances", type=Path, required=True, help="CSV that the filter's predict has written")
    nearest.add_argument("--keep", type=int, required=True, help="how many clips; the paper keeps 500000")
    nearest.add_argument("--output", type=Path, required=True, help="CSV to write, of clip_id and distance")
    options = parser.parse_args(args)
    with SIGNALS.handled(), one_line_errors():  # what a command needs takes seconds to import
        if options.command in CORPORA:
            from datamodules.prepare.command import run

            run(options)
        elif options.command == "nearest":
            from datamodules.prepare.nearest import write_nearest

            write_nearest(options.distances, options.keep, options.output)
        else:
            from datamodules.prepare.audibility import SentenceWriter

            SentenceWriter(
                options.model, options.output, options.count, options.seed, options.batch_size,
                options.max_new_tokens, options.device,
            ).write()  # fmt: skip


def add_packing_arguments(parser: argparse.ArgumentParser) -> None:
    """What all that pack media have in common."""
    parser.add_argument("--input", type=Path, required=True, help="folder of the media, read with its subfolders")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, as ROOT/corpus/split")
    parser.add_argument("--ids", type=Path, help="pack only these clips: a table, or a text file of one id a line")
    parser.add_argument("--format", choices=("flac", "wav"), default="flac", help="of the audio; default: %(default)s")
    parser.add_argument("--sampling-rate", type=positive, help="of the audio, in Hz; default: each file's own")
    parser.add_argument(
        "--mono", choices=("mean", "first"), default="mean", help="mean of the channels, or the first; default: mean"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=336,
        help="scale images by the shorter side and crop them at the centre to squares of this many pixels; 0 keeps "
        "their sizes; default: %(default)s",
    )
    parser.add_argument("--min-seconds", type=float, default=0.1, help="leave out shorter clips; default: %(default)s")
    parser.add_argument("--max-seconds", type=float, help="cut longer clips to their beginning; default: keep them")
    parser.add_argument(
        "--require-images", action="store_true", help="leave out clips without an image; default: pack their audio"
    )
    parser.add_argument("--samples-per-shard", type=int, default=500, help="clips in a tar; default: %(default)s")
    parser.add_argument("--workers", type=positive, help="processes that decode; default: one for each core")
    parser.add_argument(
        "--part",
        type=part,
        default=(1, 1),
        metavar="I/N",
        help="pack the I-th of N parts, as in an array of jobs; the last part to end writes the index, and so does the "
        "same command without --part",
    )


def positive(text: str) -> int:
    """A whole number above zero."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return int(text)


def part(text: str) -> tuple[int, int]:
    """3/64 as (3, 64)."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected I/N such as 3/64, found {text!r}")
    return int(number), int(parts)


if __name__ == "__main__":
    main()
