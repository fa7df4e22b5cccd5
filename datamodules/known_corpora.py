"""How many clips the splits of public corpora have in their own lists, so that a test says how many it lacks."""

from pathlib import PurePath
from typing import Any

NAMES = {"audiocaps": "AudioCaps", "clotho": "Clotho"}
LISTED = {  # in the corpora's own tables
    ("audiocaps", "val"): 495,
    ("audiocaps", "test"): 975,
    ("clotho", "val"): 1045,
    ("clotho", "test"): 1045,
}
COPIES = {("audiocaps", "val", 494): "WavCaps' copy", ("audiocaps", "test", 957): "WavCaps' copy"}


def corpus_of(split: str) -> str | None:
    """The key in `NAMES` of the corpus that a split's name begins with; None for another name."""
    first = PurePath(split).parts[:1]
    name = first[0].lower() if first else ""
    return next((key for key in NAMES if name.startswith(key)), None)


def beside_its_list(split: str, number: int) -> dict[str, Any]:
    """What is known of a split of `number` clips by its name: corpus, clips in its own list, and missing ones.

    The counts tell WavCaps' copies of AudioCaps from AudioCaps. They do not tell AudioCaps' versions.

    Args:
        split: such as audiocaps/test or clotho/evaluation.
        number: of clips.

    Returns:
        Nothing for a split whose list is not known.
    """
    corpus = corpus_of(split)
    part = PurePath(split).name.lower().partition(".")[0]
    part = "test" if part.startswith(("test", "eval")) else "val" if part.startswith("val") else part
    if corpus is None or (corpus, part) not in LISTED:
        return {}
    listed = LISTED[corpus, part]
    found = {"corpus": NAMES[corpus], "listed": listed, "missing": max(0, listed - number)}
    copy = COPIES.get((corpus, part, number))
    return found | ({"version": copy} if copy else {})
