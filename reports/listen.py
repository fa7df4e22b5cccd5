"""python -m reports listen: a page for a blind listening test of captions (audibility guidance, section 4)."""

import argparse
import base64
import hashlib
import json
from pathlib import Path

import jinja2
import numpy as np

from earshot.atomic import write_text
from earshot.errors import InputError, require_apart
from evaluation.captions_file import captions_path, read_captions
from reports.table import at_least

TEMPLATES = Path(__file__).parent / "templates"
CHOICE = (  # the paper's two criteria
    "Which caption better describes the audio?",
    "Which caption is more likely to arise from the audio alone, without additional information?",
)
GRADE = ("How well does the caption describe the audio?",)
LARGEST = 25e6  # bytes of a page that mail and browsers take


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add = parser.add_argument
    what = "a run folder, runs/<run_name> (the newest test in it) or a captions file, as NAME=RUN to name it"
    add("runs", nargs="+", metavar="RUN", help=f"two runs to choose between, or one to grade from 1 to 5: {what}")
    add("--clips", type=at_least(1), default=10, metavar="N", help="drawn at random; the paper's: %(default)s")
    add("--seed", type=at_least(0), default=0, help="of the clips, their order and the sides (%(default)s)")
    add("--question", action="append", metavar="TEXT", help="to ask of each clip; repeatable; default: the paper's two")
    add("--sounds", type=Path, metavar="FOLDER", help="split or folder of files; default: what the first run read")
    add("--title", default="Listening test", help="heading of the page (%(default)s)")
    add("--output", type=Path, default=Path("runs/listen.html"), help="page to write (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Draw clips, and write the page."""
    from reports.sounds import folder_of_sounds, read_sounds  # shards bring torch, which --help saves

    if options.output.is_dir():
        raise InputError(f"expected a file as --output, found the folder {options.output}; name a file in it")
    paths = named_runs(options.runs)
    require_apart([options.output], paths.values())
    captions = {}
    for name, path in paths.items():
        rows = read_captions(path)
        captions[name] = dict(zip(rows["clip_ids"], rows["captions"]))
    texts = list(captions.values())
    shared = sorted(set.intersection(*map(set, texts)))
    differing = [clip for clip in shared if len(texts) == 1 or texts[0][clip].strip() != texts[1][clip].strip()]
    if not differing:
        found = "the same captions of all of them" if shared else "none"
        raise InputError(f"expected clips that both runs caption, found {found}; name two runs on the same split")
    drawn = np.random.default_rng(options.seed).permutation(len(differing))[: options.clips]
    chosen = [differing[index] for index in sorted(drawn)]
    sounds = read_sounds(options.sounds or folder_of_sounds(next(iter(paths.values()))), chosen)
    questions = options.question or list(CHOICE if len(texts) == 2 else GRADE)
    clips = [{"id": clip, "captions": [text[clip] for text in texts], "sound": sounds[clip]} for clip in chosen]
    study = {"seed": options.seed, "questions": questions, "clips": clips}
    # raters who look at the page's source by chance are not to read which run is which
    study["runs"] = [base64.b64encode(name.encode()).decode() for name in captions]
    study["page"] = hashlib.sha256(json.dumps(study).encode()).hexdigest()[:12]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    page = environment.get_template("listen.html").render(title=options.title, study=study, pair=len(texts) == 2)
    write_text(options.output, page)
    if same := len(shared) - len(differing):
        print(f"left out {same} of {len(shared)} clips, of which both runs have the same caption")
    print(f"{len(chosen)} of {len(differing)} clips, drawn with seed {options.seed}, {len(questions)} question(s) each")
    if len(page) > LARGEST:
        print(f"the page has {len(page) / 1e6:.0f} MB; fewer --clips make it smaller")
    print(f"written to {options.output}: give it to raters, then python -m reports listened CSV [CSV ...]")


def named_runs(arguments: list[str]) -> dict[str, Path]:
    """The captions file of each run, by its name.

    Raises:
        InputError: neither one run nor two, or two of the same name.
    """
    found = {}
    for argument in arguments:
        name, equals, run = argument.partition("=")
        if not equals or Path(argument).exists():
            name, run = argument.removeprefix("runs/").rstrip("/"), argument
        found[name] = captions_path(Path(run))
    if len(arguments) > 2 or len(found) < len(arguments):
        raise InputError(
            f"expected one run to grade, or two of different names, found {', '.join(arguments)}; name one or two"
        )
    return found
