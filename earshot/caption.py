"""earshot caption FILE_OR_FOLDER ...: captions of any sounds, on the terminal and in files."""

import argparse
import csv
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from earshot.errors import InputError, one_line_errors
from earshot.paths import config_file
from earshot.signals import SIGNALS
from earshot.terminal import printable

if TYPE_CHECKING:  # --help needs no torch
    from earshot.captioner import Caption

COLUMNS = ("file", "start", "end", "caption", "score", "cut", "error")
NAMED = 20  # files that could not be captioned, in the summary
MINIATURE = (
    "note: {name} is made of the small models that ship with the project, which know only the miniature's synthetic "
    "sounds. For real sounds train a method at full size (configs/paper/, docs/several_gpus.md) and name its export by "
    "--with"
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default the process's."""
    parser = argparse.ArgumentParser(
        "earshot caption",
        description="Caption audio and video files of any format, sampling rate, number of channels and length. "
        "Captions are printed as they come, and those that are printed are kept where Ctrl-C ends the command. Files "
        "that cannot be read are named at the end, and the exit code then is 1.",
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="media files, and folders, whose subfolders are read, too")
    add(
        "--with",
        dest="captioner",
        metavar="NAME",
        help="an export (dali_ot is exports/dali_ot) or the configuration of a method that needs no training "
        "(keywords); default: the newest export that captions, or else keywords",
    )
    add("--config", action="append", default=[], metavar="OVERLAY", help="settings of the model on top")
    add("--window", type=float, metavar="SECONDS", help="caption long files in parts; default: only their beginning")
    add("--candidates", type=int, default=1, metavar="N", help="captions of each, with scores; default: %(default)s")
    add("--output", type=Path, action="append", default=[], metavar="FILE", help="a .csv or .jsonl to write, too")
    add("--batch-size", type=int, default=8, metavar="N", help="captioned at once; default: %(default)s")
    add("--device", help="such as cuda:1; default: a GPU where there is one")
    options = parser.parse_args(args)
    with SIGNALS.handled(), one_line_errors():
        failed = run(options)
    if failed:
        raise SystemExit(1)


def run(options: argparse.Namespace) -> int:
    """Caption, print and write; returns how many files could not be captioned, or only in part."""
    for path in options.output:
        if path.suffix not in (".csv", ".jsonl") or path.exists():
            found = "a file that exists" if path.exists() else "another"
            raise InputError(f"expected a new file that ends with .csv or .jsonl as --output, found {found}: {path}")
    if options.candidates < 1 or options.batch_size < 1:
        raise InputError("expected --candidates and --batch-size of at least 1, found less; correct them")
    for overlay in options.config:
        if not config_file(overlay).is_file():
            raise InputError(f"expected a YAML as --config, found no {overlay}; correct it, as strategy/projection")
    from tqdm import tqdm
    from transformers.utils.logging import disable_progress_bar

    from datamodules.media_clips import list_media, other_kinds
    from earshot.captioner import Captioner
    from earshot.stage import default_captioner

    if not sys.stderr.isatty():  # a bar in a log file is a line of boxes
        disable_progress_bar()
    files, others = list_media(options.paths)
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # peft to transformers
    with redirect_stdout(sys.stderr):  # libraries tell what they load; stdout is for captions
        captioner = Captioner.from_pretrained(options.captioner or default_captioner(), options.config, options.device)
    print(f"captioning {len(files)} files with {captioner.name}", file=sys.stderr)
    if captioner.miniature:
        print(MINIATURE.format(name=captioner.name), file=sys.stderr)
    captions = captioner.caption_listed(files, options.window, options.candidates, options.batch_size)
    failed: dict[str, str] = {}
    done: set[str] = set()
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(path)) for path in options.output]
        bar = stack.enter_context(tqdm(total=len(files), unit="file", file=sys.stderr, disable=None))
        for caption in captions:
            for writer in writers:
                writer.write(caption)
            if caption.error:
                times = f"{caption.start:.1f}-{caption.end:.1f} s: " if caption.end else ""
                failed.setdefault(caption.file, times + caption.error)
            else:
                tqdm.write(shown(caption, options.window is not None), file=sys.stdout)
                sys.stdout.flush()
            bar.update(caption.file not in done)
            done.add(caption.file)
    if others:
        print(other_kinds(others), file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(files)} files could not be captioned, or only in part:", file=sys.stderr)
        for name, reason in list(failed.items())[:NAMED]:
            print(f"  {printable(name)}: {printable(reason)}", file=sys.stderr)
        if len(failed) > NAMED:
            print(f"  ... and {len(failed) - NAMED} more; --output names them all", file=sys.stderr)
    return len(failed)


def shown(caption: "Caption", in_windows: bool) -> str:
    """The line, or lines, of the terminal."""
    part = ""
    if caption.cut:
        part = f" [first {caption.end:.1f} s]"
    elif in_windows:
        part = f" [{caption.start:.1f}-{caption.end:.1f} s]"
    name = f"{printable(caption.file)}{part}"
    lines = [f"{name}\t{score:.2f}\t{printable(text)}" for text, score in caption.candidates]
    return "\n".join(lines or [f"{name}\t{printable(caption.caption)}"])


class Writer:
    """Appends captions to a .csv or .jsonl file, each on disk before the next is made.

    At the end, a file without any is removed: it would stand in the way of the corrected command.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.empty = path, True
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: TextIO = path.open("x", newline="", encoding="utf-8")
        self.append: Callable[[dict[str, Any]], Any] = self._line
        if path.suffix == ".csv":
            table = csv.DictWriter(self.file, COLUMNS)
            table.writeheader()
            self.append = table.writerow

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
        if self.empty:
            self.path.unlink()

    def _line(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def write(self, caption: "Caption") -> None:
        """One row, or one of each candidate."""
        self.empty = False
        for text, score in caption.candidates or ((caption.caption, None),):
            self.append(
                {
                    "file": caption.file, "start": round(caption.start, 3), "end": round(caption.end, 3),
                    "caption": text, "score": score, "cut": caption.cut, "error": caption.error,
                }
            )  # fmt: skip
        self.file.flush()


if __name__ == "__main__":
    main()
