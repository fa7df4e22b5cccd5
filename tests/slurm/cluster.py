"""A real SLURM of two nodes on this one machine, from Debian's packages slurm-wlm and munge."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
FirstJobId={first}
ReturnToService=2
KillWait=30
SlurmdParameters=config_overrides
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
StateSaveLocation={folder}/state
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=spare Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=0 GraceTime=0
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


class NotHere(Exception):
    """SLURM cannot run on this machine."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(happened: Callable[[], object], what: str, seconds: float = 600) -> None:
    """Look twice a second."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"no {what} in {seconds} s"
        time.sleep(0.5)


def ask(*command: str) -> str:
    """What a command of SLURM prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


@contextmanager
def running() -> Iterator[Path]:
    """The folder of the running SLURM, whose commands find it by SLURM_CONF.

    Its nodes' names are no names of hosts, so MASTER_ADDR says where the first one is.

    Raises:
        NotHere: SLURM cannot run on this machine.
    """
    if os.geteuid() or not all(shutil.which(name) for name in DAEMONS):
        raise NotHere("needs root, and Debian's slurm-wlm and munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: sockets have paths of 108 bytes
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    ports = {"port": free_port(), "port1": free_port(), "port2": free_port()}
    first = random.randrange(1, 9000)  # the ranks meet at a port of the job's number, another one in each cluster
    text = CONFIG.format(host=socket.gethostname(), folder=folder, first=first, **ports)
    (folder / "slurm.conf").write_text(text)
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", *files]
    started: list[subprocess.Popen] = []
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        environment.setenv("MASTER_ADDR", "127.0.0.1")
        try:
            for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
                started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                if command is munged:
                    with suppress(AssertionError):
                        wait_for(lambda: (folder / "munge.socket").exists() or ended(started), "socket of munge", 20)
            with suppress(AssertionError):
                wait_for(lambda: idle_nodes() == {"n1", "n2"} or ended(started), "idle nodes", 60)
            if ended(started) or idle_nodes() != {"n1", "n2"}:
                raise NotHere(f"SLURM does not run here: {' '.join(ended(started))} {last_line(folder)}")
            yield folder
            subprocess.run(["scancel", "--user=root"], capture_output=True)
            wait_for(lambda: not ask("squeue", "--noheader"), "empty queue", 60)
        finally:
            for daemon in reversed(started):
                daemon.terminate()
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
            shutil.rmtree(folder, ignore_errors=True)


def ended(daemons: list[subprocess.Popen]) -> list[str]:
    """Those that should run and do not."""
    return [str(daemon.args[0]) for daemon in daemons if daemon.poll() is not None]  # type: ignore[index]


def last_line(folder: Path) -> str:
    """Of the newest log."""
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    return (logs[-1].read_text(errors="replace").strip().splitlines() or [""])[-1] if logs else ""


def idle_nodes() -> set[str]:
    """Both, when nothing runs."""
    shown = subprocess.run(
        ["sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N"], capture_output=True, text=True
    )
    return set(shown.stdout.split())
