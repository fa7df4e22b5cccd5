"""The one reader of lists of clips: what to pack, what to leave out, what to train on."""

import json
import re
from pathlib import Path

from datamodules.caption_table import read_captions
from earshot.errors import InputError

COLUMNS = {"clip_id", "id", "file_name", "youtube_id"}


def read_ids(path: Path) -> list[str]:
    """The ids in a file, each once, in order.

    The file is one of:

    - a table with a column clip_id, id, file_name or youtube_id, as `earshot prepare nearest` writes it, with captions
      or without;
    - a text file with an id, or the name of a media file, in each line; empty lines do not count;
    - a JSON list of ids, or WavCaps' blacklists, a JSON object with a list for each subset, whose ids are called
      `<subset>_<id>` but for AudioSet's.

    Raises:
        InputError: no such file, none of these forms, or no id.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        content = json.loads(text) if text.lstrip().startswith("[") or path.suffix.lower() == ".json" else None
        if isinstance(content, dict):
            content = [
                name if subset == "AudioSet" else f"{subset}_{name}"
                for subset, names in content.items()
                for name in names
            ]
    except (OSError, ValueError, TypeError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"expected a list of ids in {path}, found: {found}; correct the path") from None
    if content is not None:
        if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
            raise InputError(f'expected a JSON list of ids such as ["a", "b"] in {path}, found another; correct it')
        listed = content
    else:
        lines = text.splitlines() or [""]
        cells = {cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", lines[0])}
        if cells & COLUMNS:
            listed = list(read_captions(path, required=False))
        elif len(cells) > 1:
            raise InputError(
                f"expected a column {', '.join(sorted(COLUMNS))} in {path}, or one id in each line, found a first line "
                f"{lines[0][:60]!r}; add a line with the columns' names"
            )
        else:
            listed = [line.rstrip() for line in lines if line.strip()]  # some names in Clotho begin with a space
    if not listed:
        raise InputError(f"expected ids in {path}, found none; name another list")
    return list(dict.fromkeys(listed))
