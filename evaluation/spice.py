"""SPICE by its Java program, which parses every sentence once: parses are kept for the next scoring."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from earshot.atomic import atomic_folder
from evaluation.java_files import SPICE_FILES, cache_folder
from evaluation.java_metrics import complaint, run_java
from evaluation.metric import NotComputed

LONGEST = 100  # words of a sentence; its parser fails on captions that repeat themselves thousands of times
AT_ONCE = 1200  # sentences that a run of Java parses; starting it takes seconds
KNOWN = "sentences.json"


def spice(captions: Sequence[str], references: Sequence[Sequence[str]], work_folder: Path) -> np.ndarray:
    """SPICE (Anderson et al. 2016) of each caption: (N,), 0 where neither side has anything to compare.

    The parses of a set of references, and of the captions that were scored with them, are kept in `parses/` beside the
    Java files. Of sentences of more than 100 words the beginning is compared.

    Args:
        captions: N tokenized sentences.
        references: N lists of tokenized sentences.
        work_folder: holds a temporary folder while SPICE runs.

    Raises:
        NotComputed: no Java, no files, or Java failed.
    """
    pairs = [(_cut(caption), [_cut(reference) for reference in group]) for caption, group in zip(captions, references)]
    if cut := [_cut(caption)[:40] for caption in captions if len(caption.split()) > LONGEST]:
        print(
            f"SPICE: {len(cut)} captions have more than {LONGEST} words, such as '{cut[0]} ...'; it compares their "
            "beginnings",
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
        if len(new) > AT_ONCE:
            print(
                f"SPICE: parsing {len(new)} sentences takes minutes; the parses are kept", file=sys.stderr, flush=True
            )
        with tqdm(total=len(new), desc="SPICE parses", unit="sentence", disable=None, leave=False) as bar:
            for start in range(0, len(new), AT_ONCE):
                some = new[start : start + AT_ONCE]
                _run([(some[at], some[at + 1 : at + 6]) for at in range(0, len(some), 6)], folder)
                bar.update(len(some))
        found = _run(pairs, folder)
        if new:
            (folder / KNOWN).write_text(json.dumps(sorted(known | set(new))))
            _keep(folder, kept)
    scores = np.zeros(len(pairs))
    for item in found:
        scores[item["image_id"]] = item["scores"]["All"]["f"] or 0.0
    return scores  # (N,)


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
    source.write_text(
        json.dumps([{"image_id": index, "test": test, "refs": list(refs)} for index, (test, refs) in enumerate(pairs)])
    )
    programs = cache_folder() / "spice"
    command = ["-cp", f"{programs / 'spice-1.0.jar'}{os.pathsep}{programs / 'lib' / '*'}"]
    command += ["edu.anu.spice.SpiceScorer", str(source), "-cache", str(folder / "cache"), "-out", str(target)]
    result = run_java(SPICE_FILES, command, timeout=600 + 2.0 * len(pairs))
    written: list[dict[str, Any]] = json.loads(target.read_text()) if target.is_file() else []
    if len(written) != len(pairs):  # SPICE ends with code 0 even when it fails
        raise NotComputed(complaint(result))
    return written
