"""The one exception for bad input; commands print it as one line and exit with code 2."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)  # by the machine, whoever asks


class InputError(Exception):
    """Input that cannot be used: says what was expected, what was found and what to do."""


def require_folder(name: str, what: str) -> None:
    """Refuse the path of a folder that is not there, before the network is asked for it as if it were a hub id.

    Args:
        name: a folder or a hub id; a folder's begins with /, ./, ../ or exports/, or with a folder that is here.
        what: that is expected there.

    Raises:
        InputError: a folder's name, and no such folder.
    """
    first = Path(name).parts[:1]
    local = name.startswith(("/", "./", "../", "exports/")) or (len(Path(name).parts) > 1 and Path(*first).is_dir())
    if local and not Path(name).is_dir():
        raise InputError(
            f"expected {what} in {name}, found no such folder; run: {command_that_makes(name)}, or name one"
        )


def command_that_makes(export: str | Path) -> str:
    """The command that fills exports/<run_name>: the first line of the YAML in configs/ that has this run_name.

    Names that end in _seed<k> are those of `make dali`, whose targets they are.
    """
    run_name = Path(export).name
    if re.fullmatch(r"audibility_seed\d+", run_name):
        return "make audibility SEEDS=8"
    if re.search(r"_seed\d+$", run_name):
        return (
            f"make exports/{run_name}/{'captions.csv' if run_name.startswith('pseudo') else 'provenance.json'} SEEDS=8"
        )
    for path in sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if re.search(rf"^run_name: {re.escape(run_name)}$", text, re.MULTILINE) and text.startswith("# python"):
            return text.splitlines()[0].removeprefix("# ")
    return f"python train.py fit --config CONFIG --run_name {run_name}"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an InputError inside the block, or a full or forbidden disk, into one line on stderr and exit code 2."""
    try:
        yield
    except InputError as error:
        message = str(error)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        message = (
            f"expected to use {error.filename or 'the disk'}, found: {error.strerror}; make room or choose another"
        )
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
