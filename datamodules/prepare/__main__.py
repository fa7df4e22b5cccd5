"""python -m datamodules.prepare folder --input DIR --output ROOT/corpus/split [--captions table.csv], and others."""

import argparse
from pathlib import Path

from datamodules.prepare.folder import pack_folder
from earshot.errors import one_line_errors


def main(args: list[str] | None = None) -> None:
    """Run the command line `args`, by default the process's."""
    parser = argparse.ArgumentParser("python -m datamodules.prepare", description="Pack a corpus into shards.")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    folder = commands.add_parser(
        "folder",
        help="a folder of sounds, pictures and videos",
        description="Pack sounds (wav, flac, mp3), each with the picture of the same name if there is one "
        "(jpg, png), and videos (sound track, first frame of each of ten seconds). Subfolders are read too.",
    )
    folder.add_argument("--input", type=Path, required=True, help="folder to read")
    folder.add_argument("--output", type=Path, required=True, help="ROOT/corpus/split, to be made")
    folder.add_argument("--captions", type=Path, help="CSV: file_name (or id), then caption or caption_1 ...")
    folder.add_argument("--image-size", type=int, help="crop pictures to so many pixels; default: as they are")
    folder.add_argument("--samples-per-shard", type=int, default=500, help="default: %(default)s")
    audibility = commands.add_parser(
        "audibility",
        help="audible and inaudible sentences from a language model",
        description="Sample sentences for the classifier by the paper's prompt; goes on where it was killed.",
    )
    audibility.add_argument("--model", required=True, help="folder or hub id of a causal language model")
    audibility.add_argument("--output", type=Path, required=True, help="folder of audible.txt and inaudible.txt")
    audibility.add_argument("--count", type=int, default=7000, help="sentences of each kind; default: %(default)s")
    audibility.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    audibility.add_argument("--batch-size", type=int, default=16, help="answers at once; default: %(default)s")
    audibility.add_argument("--device", help="such as cuda:1; default: a GPU where there is one")
    audibility.add_argument("--max-new-tokens", type=int, default=128, help="of an answer; default: %(default)s")
    options = parser.parse_args(args)
    with one_line_errors():
        if options.command == "folder":
            pack_folder(options.input, options.output, options.captions, options.image_size, options.samples_per_shard)
        else:
            from datamodules.prepare.audibility import SentenceWriter  # transformers takes seconds to import

            SentenceWriter(
                options.model, options.output, options.count, options.seed, options.batch_size,
                options.max_new_tokens, options.device,
            ).write()  # fmt: skip


if __name__ == "__main__":
    main()
