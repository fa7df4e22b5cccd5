"""The JSON of LLaVA's training data, in which DALI's authors keep their 16 pairs and their pseudo-captions."""

import json
from pathlib import Path

from earshot.errors import InputError


def read_conversations(path: Path, remedy: str = "correct the path") -> dict[str, list[str]]:
    """Captions by clip id: what "gpt" answers first in each of a list's conversations.

    `prefixDS.json` and `pseudoCap.json` are lists of objects with an `id`, the YouTube id, and `conversations`, a list
    of turns with `from` and `value`; what else they have, such as the authors' paths, is not read.

    Raises:
        InputError: no such file, another kind of file, or a clip twice.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"expected a JSON list of conversations in {path}, found: {found}; {remedy}") from None
    captions: dict[str, list[str]] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else [None]):
        try:
            clip_id = entry["id"]
            if not isinstance(clip_id, str):
                raise TypeError
            answer = next(turn["value"].strip() for turn in entry["conversations"] if turn["from"] == "gpt")
        except (KeyError, TypeError, AttributeError, StopIteration):
            raise InputError(
                f'expected a list of objects with "id" and "conversations", one of them from "gpt", in {path}, found '
                f"another in entry {number}; correct it"
            ) from None
        if clip_id in captions:
            raise InputError(f"expected every id once in {path}, found {clip_id!r} twice; remove one of its entries")
        captions[clip_id] = [answer]
    return captions
