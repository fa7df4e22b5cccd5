"""The exception for input that cannot be used; commands print it as one line and exit with code 2."""

import errno
import os
import re
import select
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from earshot.paths import resource
from earshot.terminal import printable
from earshot.told import tell

REFUSED = (  # permissions, a full disk, a limit on sizes, a path that is a folder or leads through a file
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST,
    errno.ENAMETOOLONG, errno.EFBIG,
)  # fmt: skip

BUG = (
    "This is a bug of earshot, not of what you gave it: please report it where you got earshot from, with the lines "
    "above and the output of `earshot --version`."
)


class InputError(Exception):
    """Input that cannot be used: says what was expected, what was found and what to do."""


def require_folder(name: str, what: str) -> None:
    """Check that a local folder exists, before the network is asked for its name as if it were a hub id.

    Args:
        name: a folder or a hub id. It is a folder when it begins with /, ./, ../ or exports/, or with an existing one.
        what: what is expected in the folder.

    Raises:
        InputError: the name is a folder's, and there is no such folder.
    """
    first = Path(name).parts[:1]
    local = name.startswith(("/", "./", "../", "exports/")) or (len(Path(name).parts) > 1 and Path(*first).is_dir())
    if local and not Path(name).is_dir():
        made = f"run: {command_that_makes(name)}, or name one" if Path(name).parent.name == "exports" else "correct it"
        raise InputError(f"expected {what} in {name}, found no such folder; {made}")


def require_apart(written: Iterable[Path | None], read: Iterable[Path | None]) -> None:
    """Check that a command writes to none of the files that it reads.

    Raises:
        InputError: it would write to one.
    """
    inputs = {path.resolve() for path in read if path is not None}
    for path in written:
        if path is not None and path.resolve() in inputs:
            raise InputError(
                f"expected to write to a file of its own, found {path}, which is read; name another output"
            )


def command_that_makes(export: str | Path) -> str:
    """The command that fills exports/<run_name>: the first line of the YAML in configs/ that has this run_name."""
    run_name = Path(export).name
    for path in sorted(resource("configs").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if re.search(rf"^run_name: {re.escape(run_name)}$", text, re.MULTILINE) and text.startswith("# python"):
            return text.splitlines()[0].removeprefix("# ")
    return f"python train.py fit --config CONFIG --run_name {run_name}"


def stdout_is_abandoned() -> bool:
    """Whether stdout is a pipe that nobody reads any more: another that breaks, as a worker's, is no such thing."""
    stdout = select.poll()
    stdout.register(1, 0)
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in stdout.poll(0))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an InputError raised in the block, or a refusal by the disk, as one line on stderr; exit with code 2. So
    are numbers that are not finite (FloatingPointError), which a setting such as the learning rate has led to.

    Where nobody reads stdout any more, as after `| head`, the command ends as silently as others do by SIGPIPE.

    Any other error is a bug: its traceback ends with what to do about it.
    """
    try:
        yield
        print(end="", flush=True)  # what is not written yet may fail as well
    except (InputError, FloatingPointError) as error:
        message = str(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and stdout_is_abandoned():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python still writes at its end
            raise SystemExit(141) from None
        if error.errno not in REFUSED:
            error.add_note(BUG)
            raise
        # of a rename the second name is the file that was asked for, the first that of what is not finished yet
        name = error.filename2 or error.filename or "the disk"
        message = f"expected to use {name}, found: {error.strerror}; make room or choose another"
    except Exception as error:
        error.add_note(BUG)
        raise
    else:
        return
    tell(f"error: {printable(' '.join(message.split()))}")
    raise SystemExit(2)
