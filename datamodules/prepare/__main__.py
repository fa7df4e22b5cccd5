"""python -m datamodules.prepare folder --input DIR --output ROOT/corpus/split [--captions table.csv]."""

import argparse
from pathlib import Path

from datamodules.miniature import write_miniature
from datamodules.prepare.folder import pack_folder
from errors import one_line_errors


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
    miniature = commands.add_parser(
        "miniature",
        help="the procedural world that ships with the project",
        description="Write splits of the miniature, all by default; training writes what it uses by itself.",
    )
    miniature.add_argument("splits", nargs="*", metavar="corpus/split", help="such as audiocaps/val, sentences")
    miniature.add_argument("--root", type=Path, default=Path("data/miniature"), help="default: %(default)s")
    options = parser.parse_args(args)
    with one_line_errors():
        if options.command == "folder":
            pack_folder(options.input, options.output, options.captions, options.image_size, options.samples_per_shard)
        else:
            write_miniature(options.root, options.splits)


if __name__ == "__main__":
    main()
