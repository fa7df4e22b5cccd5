"""Bad input and a refusing machine end in one line; a bug keeps its traceback."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from earshot.errors import InputError, one_line_errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("expected a, found b; do c"), "error: expected a, found b; do c\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x"),
            "error: expected to use runs/x, found: No space left on device; make room or choose another\n",
        ),
        (
            OSError(errno.EFBIG, "File too large", "out/000000.tar"),
            "error: expected to use out/000000.tar, found: File too large; make room or choose another\n",
        ),
        (
            OSError(errno.EISDIR, "Is a directory", ".x.host-1.partial", None, "x"),
            "error: expected to use x, found: Is a directory; make room or choose another\n",
        ),
    ],
)
def test_one_line_and_exit_code_2(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == 2
    assert capsys.readouterr().err == said


PRINT = "from earshot.errors import one_line_errors\nwith one_line_errors(): print(1, flush={})"
PRINT_CONFIG = "from train import main; main(['fit', '--config', 'configs/clap_prefix.yaml', '--print_config'])"


@pytest.mark.parametrize(
    "program", [PRINT.format(True), PRINT.format(False), pytest.param(PRINT_CONFIG, marks=pytest.mark.slow)]
)
def test_nobody_reads_what_is_printed(program: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, cwd=REPOSITORY)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    "bug", [ValueError("x"), FileNotFoundError(errno.ENOENT, "No such file", "x"), BrokenPipeError(errno.EPIPE, "x")]
)
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)), one_line_errors():
        raise bug
