"""python pipelines/step.py LOG COMMAND ...: run one job of the graph, and write what it prints to its log too.

Two processes never work on one job: LOG.lock is locked for as long as the command or anything it started lives, also
when Snakemake itself was killed. A command that fails names its log and repeats the log's last lines. SIGTERM, which
SLURM sends to all processes of a job, ends the command when it is ready, and this one with it.
"""

import fcntl
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from preloaded import start

LAST_LINES = 15


def run(log: Path, command: list[str]) -> int:
    """The command's exit code; 2 where another process runs the job."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # the lock is a file of its own, as Snakemake removes old logs
    with open(f"{log}.lock", "a+") as lock, log.open("ab") as file:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            lock.seek(0)
            print(f"error: expected no process at the job of {log}, found {lock.read()} still at it; wait or end it")
            return 2
        except OSError:  # a file system that knows no locks
            pass
        output, written = os.pipe()
        process = start(command, written, lock.fileno())
        os.close(written)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on, so that the command does not inherit it
        lock.truncate(0)
        print(process.pid, end="", file=lock, flush=True)
        while chunk := os.read(output, 65536):
            file.write(chunk)
            file.flush()
            with suppress(BrokenPipeError):  # Snakemake was killed; the job goes on, and its log
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
    if code := process.wait():
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        print(f"error: exit code {code}; the last lines of {log}:", *lines, sep="\n  ", flush=True)
    return code if 0 <= code < 256 else 1


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
