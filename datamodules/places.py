"""Where shards are: in a folder, or at a URL that webdataset opens."""

import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import IO

from webdataset.gopen import Pipe, gopen

from earshot.errors import InputError

SCHEMES = ("http", "https", "ftps", "sftp", "scp", "gs", "hf", "s3")  # by webdataset's openers, s3 by `aws s3 cp`
PROGRAMS = {"gs": "gsutil", "s3": "aws"}  # that read a scheme; the others are read by curl


class UrlPath(PosixPath):
    """A URL with the joining and the parts of a path."""

    def __str__(self) -> str:
        """The URL, whose double slash a path loses."""
        return re.sub(r"^(\w+):/+", r"\1://", super().__str__())


def place(name: str, inside: Path | None = None) -> Path:
    """The path or URL of that name, in a folder or on a server where it is relative.

    Raises:
        InputError: another scheme, such as `pipe:`, with which an index could run any command.
    """
    scheme = re.match(r"(\w+):", name)
    if scheme is None:
        return Path(name) if inside is None else inside / name
    if scheme[1] not in SCHEMES:
        found = f"{name!r} in the index of {inside}" if inside is not None else repr(name)
        raise InputError(f"expected a file, or a URL of {', '.join(SCHEMES)}, found {found}; correct it")
    return UrlPath(name)


def exists(path: Path) -> bool:
    """Whether there is a file, and no pipe, which would be waited for; a URL is only known when it is read."""
    return isinstance(path, UrlPath) or path.is_file()


def size_of(path: Path) -> int | None:
    """Bytes of a file; None of a URL, and of a file that is not there."""
    return None if isinstance(path, UrlPath) or not path.is_file() else path.stat().st_size


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file or URL to read from its beginning, perhaps not to its end.

    Raises:
        InputError: the program that reads the URL is not installed.
        OSError: there is no such file or URL.
    """
    if not isinstance(path, UrlPath):
        with path.open("rb") as file:
            yield file
        return
    scheme = path.parts[0].rstrip(":")
    if shutil.which(program := PROGRAMS.get(scheme, "curl")) is None:
        raise InputError(
            f"expected the program {program}, which reads {path}, found none; install it, or copy the split"
        )
    stream = gopen(f"pipe:aws s3 cp {shlex.quote(str(path))} -" if scheme == "s3" else str(path))
    try:
        yield stream
    finally:
        if isinstance(stream, Pipe):  # a reader that stops early leaves the program writing
            stream.stream.close()
            stream.proc.terminate()
            stream.proc.wait()


def read(path: Path) -> bytes:
    """All of a file or URL.

    Raises:
        OSError: there is none.
    """
    with opened(path) as file:
        data = file.read()
        if isinstance(file, Pipe) and (status := file.proc.wait()):
            raise OSError(f"{path}: exit code {status}")
        return data


class ToItsEnd:
    """Fails where more is read after a file's end: tarfile skips a member of 2^60 bytes block by block, for days.

    Attributes:
        began: whether there was anything; nothing comes from a URL that does not exist.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.ended, self.began = file, False, False

    def read(self, size: int = -1) -> bytes:
        """As many bytes as there are, at most `size`."""
        data = self.file.read(size)
        if not data and self.ended:
            raise EOFError("the file ends within a member")
        self.ended = not data
        self.began = self.began or bool(data)
        return data
