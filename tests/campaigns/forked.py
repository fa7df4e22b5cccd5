"""Commands of train.py as process groups that are forked from this process, which has imported everything already.

Starting Python and importing Lightning takes 6 to 13 seconds of a core; forking takes none of them.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from callbacks.run_folder import HANDED_ON
from pipelines.preloaded import become
from tests.campaigns.small_stages import REPOSITORY

LOG = "log.txt"


class Group:
    """One command on `ranks` processes in the working folder `folder`, in a process group of their own.

    Args:
        cold: by `python train.py`, which starts its own second rank, as a user does.
    """

    def __init__(self, args: list[str], folder: Path, ranks: int, cold: bool = False) -> None:
        self.started = time.monotonic()
        self.cold = cold
        if cold:
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            with open(folder / LOG, "ab") as log:
                process = subprocess.Popen(
                    [sys.executable, str(REPOSITORY / "train.py"), *args],
                    cwd=folder, env=environment, stdout=log, stderr=log, process_group=0,
                )  # fmt: skip
            self.pids = [process.pid]
        else:
            self.pids = []
            port = free_port()
            for rank in range(ranks):
                self.pids.append(forked(args, folder, rank, ranks, port, self.pids[0] if rank else 0))
        self.codes: dict[int, int] = {}

    def ended(self) -> bool:
        """Whether all of the processes have."""
        for pid in self.pids:
            if pid not in self.codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) == len(self.pids)

    def kill(self) -> None:
        """`kill -9` of the whole group, readers of clips and second ranks included; wait until it is gone."""
        os.killpg(self.pids[0], signal.SIGKILL)
        while not self.ended():
            time.sleep(0.001)
        until = time.monotonic() + 2.0  # those that it started are reaped by another process
        with suppress(ProcessLookupError):
            while time.monotonic() < until:
                os.killpg(self.pids[0], 0)
                time.sleep(0.001)


def forked(args: list[str], folder: Path, rank: int, ranks: int, port: int, group: int) -> int:
    """Fork one rank into a process group, 0 for one of its own; where there are several, as torchrun starts them."""
    pid = os.fork()
    if pid:
        os.setpgid(pid, group)  # here too: whichever comes first
        return pid
    try:
        os.setpgid(0, group)
        os.chdir(folder)
        environment = dict(os.environ)
        if ranks > 1:
            there = {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            environment |= {**there, HANDED_ON: new_run_folder(args)}
        rank_zero_only.rank = rank
        log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        become([str(REPOSITORY / "train.py"), *args], ".", environment, log)
    finally:  # not to go on as a second campaign
        os._exit(1)


def new_run_folder(args: list[str]) -> str:
    """The folder of a run that finds no checkpoint, in the working folder."""
    folder = Path("runs", args[args.index("--run_name") + 1])
    return str(folder / f"{args[0]}-{1 + len(list(folder.glob(f'{args[0]}-*')))}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
