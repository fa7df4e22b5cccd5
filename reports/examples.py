"""python -m reports examples: captions of the same clips by several runs, side by side (DALI, Tables 2 and 4)."""

import argparse
from pathlib import Path

import numpy as np

from earshot.errors import InputError, require_apart
from evaluation.captions_file import read_captions
from evaluation.word_scores import named, read_vocabulary
from reports.origin import seeds
from reports.page import add_page, page_files, write_page
from reports.published import published_captions
from reports.rows import add_rows, files_read, parse_rows
from reports.table import NOT_GIVEN, Line, at_least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_rows(parser)
    parser.add_argument("--number", type=at_least(1), default=10, help="clips to show (%(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of their choice (%(default)s)")
    parser.add_argument(
        "--vocabulary",
        type=Path,
        help="JSON vocabulary or text file of visual words, one per line: add the share of captions with a visual word",
    )
    parser.add_argument(
        "--published",
        choices=("2", "4"),
        help="show the clips of this table of DALI's instead, with the paper's captions beside",
    )
    add_page(parser, "runs/examples.md")


def run(options: argparse.Namespace) -> None:
    """Draw clips and show each row's captions beside a reference; of several runs in a row, the first one's."""
    paths = parse_rows(options.runs)
    require_apart(page_files(options.output), [*files_read(paths), options.vocabulary])
    captions: dict[str, list[dict[str, str]]] = {}
    references: dict[str, str] = {}
    clips: dict[str, str] = {}  # by what a reference says
    for name, files in paths.items():
        captions[name] = []
        for rows in map(read_captions, files):
            captions[name].append(dict(zip(rows["clip_ids"], rows["captions"])))
            for clip_id, texts in zip(rows["clip_ids"], rows["references"]):
                references[clip_id] = next(filter(None, texts), "")
                clips |= dict.fromkeys(map(_said, texts), clip_id)
    shared = sorted(set.intersection(*(set(each) for group in captions.values() for each in group)))
    if not shared:
        raise InputError(
            f"expected runs of the same clips, found none that all of {', '.join(captions)} have; test again"
        )
    shared = [clip_id for clip_id in shared if references[clip_id]] or shared  # those that are scored, where any are
    lines: list[Line] = []
    if options.published:
        drawn = f"those of the paper's table that are among the N = {len(shared)}; {NOT_GIVEN} for the others"
        for truth, theirs in published_captions(options.published).items():
            ours: Line = {
                name: group[0].get(clips.get(_said(truth), ""), NOT_GIVEN) for name, group in captions.items()
            }
            lines.append({"a reference": truth, **ours, **{f"{name}, paper": text for name, text in theirs.items()}})
    else:
        drawn = f"{min(options.number, len(shared))} of N = {len(shared)}, drawn at random with seed {options.seed}"
        for index in sorted(np.random.default_rng(options.seed).permutation(len(shared))[: options.number]):
            clip = shared[index]
            lines.append(
                {"a reference": references[clip], **{name: group[0][clip] for name, group in captions.items()}}
            )
    notes = []
    if options.vocabulary is not None:
        visual = read_vocabulary(options.vocabulary).visual_words
        for name, group in captions.items():
            seen = [bool(named(each[clip], visual)) for each in group for clip in shared]
            notes.append(f"{name}: {np.mean(seen):.3f} of {len(seen)} captions have a word for what is only seen")
    write_page(options, lines, {}, notes, [f"clips: {drawn}", seeds(paths)])


def _said(text: str) -> str:
    """A reference without what its copies differ in."""
    return " ".join(text.lower().strip(" .").split())
