"""python -m reports.examples: what several runs say of the same clips, side by side (DALI, Tables 2 and 4)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earshot.errors import InputError, one_line_errors
from evaluation.captions_file import read_captions
from evaluation.word_scores import named, read_vocabulary


def side_by_side(
    runs: Sequence[str], number: int, seed: int
) -> tuple[list[str], list[list[str]], dict[str, list[str]]]:
    """Draw clips and lay their captions beside a reference.

    Args:
        runs: ROW=run folder or captions file.
        number: clips to draw.
        seed: of the draw.

    Returns:
        The heads, a line a clip, and all captions of each row.

    Raises:
        InputError: an argument of another form, or runs that share no clip.
    """
    captions: dict[str, dict[str, str]] = {}
    references: dict[str, str] = {}
    for argument in runs:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise InputError(f"expected ROW=run, found {argument!r}; name the row, as in MMD=runs/dali_mmd")
        rows = read_captions(Path(path))
        captions[name] = dict(zip(rows["clip_ids"], rows["captions"]))
        references |= {clip_id: (texts or [""])[0] for clip_id, texts in zip(rows["clip_ids"], rows["references"])}
    shared = sorted(set.intersection(*(set(row) for row in captions.values())))
    if not shared:
        raise InputError(
            f"expected runs of the same clips, found none that all of {', '.join(captions)} have; test again"
        )
    drawn = np.random.default_rng(seed).permutation(len(shared))[:number]
    lines = [[references[shared[i]], *(row[shared[i]] for row in captions.values())] for i in sorted(drawn)]
    everything = {name: [row[clip_id] for clip_id in shared] for name, row in captions.items()}
    return ["a reference", *captions], lines, everything


def main(args: Sequence[str] | None = None) -> None:
    """Show captions of the same clips by several runs, and how many have a word for what is only seen."""
    parser = argparse.ArgumentParser(prog="python -m reports.examples", description=main.__doc__)
    parser.add_argument("runs", nargs="+", metavar="ROW=RUN", help="a row's name and a run folder or captions file")
    parser.add_argument("--number", type=int, default=10, help="clips (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of their choice (%(default)s)")
    parser.add_argument("--vocabulary", type=Path, help="JSON vocabulary, or a text file with one visual word a line")
    parser.add_argument("--output", type=Path, default=Path("runs/examples.md"), help="markdown file (%(default)s)")
    options = parser.parse_args(args)
    with one_line_errors():
        head, lines, captions = side_by_side(options.runs, options.number, options.seed)
        text = [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines)]
        notes = []
        if options.vocabulary is not None:
            visual = {word: (word,) for word in read_vocabulary(options.vocabulary).visual_words}
            for name, row in captions.items():
                share = np.mean([bool(named(caption, visual)) for caption in row])
                notes.append(f"{name}: {share:.3f} of {len(row)} captions have a word for what is only seen")
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join([*text, "", *(f"- {note}" for note in notes)]) + "\n", encoding="utf-8")
        console, table = Console(), Table(*map(escape, head))
        for line in lines:
            table.add_row(*map(escape, line))
        console.print(table)
        for note in [*notes, f"written to {options.output}"]:
            console.print(note, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
