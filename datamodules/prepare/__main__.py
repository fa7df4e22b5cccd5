"""earshot prepare folder --input DIR --output ROOT/corpus/split [--captions table.csv], and others."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from earshot.errors import one_line_errors


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default the process's."""
    parser = argparse.ArgumentParser("earshot prepare", description="Prepare data to train and test on.")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    folder = commands.add_parser(
        "folder",
        help="pack a folder of audio files, images and videos into shards",
        description="Pack audio files (wav, flac, mp3), each with the image of the same name where there is one (jpg, "
        "png), and videos (their audio and the first frame of each of their first ten seconds). Subfolders are read.",
    )
    folder.add_argument("--input", type=Path, required=True, help="folder to read")
    folder.add_argument("--output", type=Path, required=True, help="folder to write, as ROOT/corpus/split")
    folder.add_argument(
        "--captions",
        type=Path,
        help="table of file_name (or clip_id, id, youtube_id) and caption, or caption_1, caption_2",
    )
    folder.add_argument(
        "--image-size", type=int, help="crop images to squares of this many pixels; default: keep sizes"
    )
    folder.add_argument("--samples-per-shard", type=int, default=500, help="clips in a tar; default: %(default)s")
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
    with one_line_errors():  # what a command needs takes seconds to import
        if options.command == "folder":
            from datamodules.prepare.folder import pack_folder

            pack_folder(options.input, options.output, options.captions, options.image_size, options.samples_per_shard)
        elif options.command == "nearest":
            from datamodules.prepare.nearest import write_nearest

            write_nearest(options.distances, options.keep, options.output)
        else:
            from datamodules.prepare.audibility import SentenceWriter

            SentenceWriter(
                options.model, options.output, options.count, options.seed, options.batch_size,
                options.max_new_tokens, options.device,
            ).write()  # fmt: skip


if __name__ == "__main__":
    main()
