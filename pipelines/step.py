"""python pipelines/step.py LOG COMMAND ...: run one job of the graph, and append what it prints to its log.

Two processes never work on one job: the log is locked for as long as the command or anything it started lives, also
when Snakemake itself was killed. A command that fails names its log and repeats the log's last lines.
"""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

LAST_LINES = 15


def run(log: Path, command: list[str]) -> int:
    """The command's exit code; 2 where another process has the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # a file system may not know locks
            if error.errno in (errno.EAGAIN, errno.EACCES):
                print(f"error: expected {log} to be free, found a process that still runs its job; wait or end it")
                return 2
        os.set_inheritable(file.fileno(), True)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[file.fileno()], bufsize=0
        )
        assert process.stdout is not None
        while chunk := process.stdout.read(65536):
            file.write(chunk)
            file.flush()
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        code = process.wait()
    if code:
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        print(f"error: exit code {code}; the last lines of {log}:", *lines, sep="\n  ", flush=True)
    return code if 0 <= code < 256 else 1


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
