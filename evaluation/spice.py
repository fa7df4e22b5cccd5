"""SPICE by its Java program, which parses every sentence once: parses are kept for the next scoring."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from earshot.atomic import atomic_folder
from earshot.terminal import duration, printable
from evaluation.java_files import SPICE_FILES, cache_folder
from evaluation.java_metrics import complaint, run_java
from evaluation.metric import NotComputed

LONGEST = 100  # words of a sentence; its parser fails on captions that repeat themselves thousands of times
AT_ONCE = 3600  # sentences that a run of Java parses; to start and warm up for every 1,200 takes a fifth longer
NAMED = 5  # clips at most
FIRST = 120  # of the first run, from which the time that is left is told
LONG = 30.0  # seconds; less is not announced
KNOWN = "sentences.json"


def spice(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    work_folder: Path,
    clip_ids: Sequence[str] | None = None,
) -> np.ndarray:
    """SPICE (Anderson et al. 2016) of each caption: (N,), 0 where neither side has anything to compare.

    The parses of a set of references, and of the captions that were scored with them, are kept in `parses/` beside the
    Java files. Of sentences of more than 100 words the beginning is compared; which clips these are of is said. So is,
    on stderr, how long parsing will take.

    Args:
        captions: N tokenized sentences.
        references: N lists of tokenized sentences.
        work_folder: holds a temporary folder while SPICE runs.
        clip_ids: of the captions, of which several systems may have one each; None counts them.

    Raises:
        NotComputed: no Java, no files, or Java failed.
    """
    pairs = [(_cut(caption), [_cut(reference) for reference in group]) for caption, group in zip(captions, references)]
    names = clip_ids or [f"number {place + 1}" for place in range(len(captions))]
    too_long = [len(caption.split()) > LONGEST for caption in captions]
    if cut := list(dict.fromkeys(names[at % len(names)] for at, long in enumerate(too_long) if long)):
        shown = ", ".join(printable(name) for name in cut[:NAMED]) + (", ..." if cut[NAMED:] else "")
        print(
            f"SPICE: {sum(too_long)} captions have more than {LONGEST} words, those of clips {shown}; it compares "
            "their beginnings",
            file=sys.stderr,
        )
    digest = hashlib.sha256("\n".join(sorted({text for _, group in pairs for text in group})).encode()).hexdigest()
    kept = cache_folder() / "parses" / digest[:16]
    with tempfile.TemporaryDirectory(dir=work_folder, prefix="spice-") as temporary:
        folder = Path(temporary)
        known = _take(kept, folder)
        sentences = dict.fromkeys(sentence for caption, group in pairs for sentence in (caption, *group))
        new = [sentence for sentence in sentences if sentence not in known]
        # It parses every occurrence of a sentence anew unless an earlier run left its parse in the cache: distinct
        # sentences first, each once, and 24 systems on the same clips are as cheap as one.
        _parse(new, folder)
        found = _run(pairs, folder)
        if new:
            (folder / KNOWN).write_text(json.dumps(sorted(known | set(new))))
            _keep(folder, kept)
    scores = np.zeros(len(pairs))
    for item in found:
        scores[item["image_id"]] = item["scores"]["All"]["f"] or 0.0
    return scores  # (N,)


def _parse(sentences: list[str], folder: Path) -> None:
    """Put the parses of distinct sentences into the folder, and say how long that takes."""
    began = time.monotonic()
    bounds = [*range(0, min(FIRST, len(sentences)), FIRST), *range(FIRST, len(sentences), AT_ONCE), len(sentences)]
    with tqdm(total=len(sentences), desc="SPICE parses", unit="sentence", disable=None, leave=False) as bar:
        for start, end in pairwise(bounds):
            some = sentences[start:end]
            _run([(some[at], some[at + 1 : at + 6]) for at in range(0, len(some), 6)], folder)
            bar.update(len(some))
            left = (time.monotonic() - began) / end * (len(sentences) - end)
            if bar.disable and left > LONG:  # no terminal, so no bar
                print(
                    f"SPICE: {end} of {len(sentences)} sentences parsed, about {duration(left)} left; the parses are "
                    "kept",
                    file=sys.stderr, flush=True,
                )  # fmt: skip


def _cut(sentence: str) -> str:
    return " ".join(sentence.split()[:LONGEST])


def _take(kept: Path, folder: Path) -> set[str]:
    """Copy the parses that are kept, if any, and return the sentences that they are of."""
    try:
        known = set(json.loads((kept / KNOWN).read_text()))
        shutil.copytree(kept / "cache", folder / "cache")
        return known
    except (OSError, ValueError):
        shutil.rmtree(folder / "cache", ignore_errors=True)
        (folder / "cache").mkdir()
        return set()


def _keep(folder: Path, kept: Path) -> None:
    """Put the parses where the next scoring looks; without room for them it parses anew."""
    try:
        with atomic_folder(kept) as partial:
            shutil.copytree(folder / "cache", partial / "cache", ignore=shutil.ignore_patterns("lock.mdb"))
            shutil.copy(folder / KNOWN, partial / KNOWN)
    except OSError as error:
        print(f"SPICE: its parses are not kept: {error}", file=sys.stderr)


def _run(pairs: Sequence[tuple[str, Sequence[str]]], folder: Path) -> list[dict[str, Any]]:
    """SPICE's output, a record for each caption with its references; parses are cached in folder/cache."""
    source, target = folder / "in.json", folder / "out.json"
    target.unlink(missing_ok=True)
    asked = [{"image_id": index, "test": test, "refs": list(refs)} for index, (test, refs) in enumerate(pairs)]
    programs = cache_folder() / "spice"
    command = ["-cp", f"{programs / 'spice-1.0.jar'}{os.pathsep}{programs / 'lib' / '*'}"]
    command += ["edu.anu.spice.SpiceScorer", str(source), "-cache", str(folder / "cache"), "-out", str(target)]
    try:
        source.write_text(json.dumps(asked))
        result = run_java(SPICE_FILES, command, timeout=600 + 2.0 * len(pairs))
        written: list[dict[str, Any]] = json.loads(target.read_text()) if target.is_file() else []
    except (OSError, ValueError) as error:  # as where the disk is full
        raise NotComputed(f"its files in {folder.parent} could not be written or read: {error}") from None
    if len(written) != len(pairs):  # SPICE ends with code 0 even when it fails
        raise NotComputed(complaint(result))
    return written
