"""What SLURM must be told and asked: do its tasks match the trainer's devices, and the same job once more."""

import os
import re
import signal
import socket
import subprocess

from jsonargparse import Namespace
from lightning.pytorch.plugins.environments import SLURMEnvironment

from earshot.errors import InputError


def match_tasks(trainer: Namespace) -> None:
    """Check that each SLURM task has its device: tasks that do not know of one another overwrite one another's files.

    `devices: auto` becomes the number of tasks of a node.

    Raises:
        InputError: several tasks without srun, not num_nodes x devices of them, or a first node without an address.
    """
    if not SLURMEnvironment.detect():
        return
    tasks, nodes = (int(os.environ.get(f"SLURM_{name}", "1")) for name in ("NTASKS", "NNODES"))
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise InputError(
            f"expected srun to start the {tasks} tasks of this job, found one process alone, which would wait for the "
            "others for ever; write `srun` before `python`, as in slurm/train.sbatch"
        )
    if trainer.devices in ("auto", -1, "-1"):
        trainer.devices = max(1, tasks // nodes)
    devices = number_of(trainer.devices)
    if nodes != trainer.num_nodes or tasks != nodes * devices:
        raise InputError(
            f"expected one SLURM task for each device, found {tasks} tasks on {nodes} nodes for --trainer.num_nodes "
            f"{trainer.num_nodes} and --trainer.devices {trainer.devices}; ask sbatch for --nodes={trainer.num_nodes} "
            f"--ntasks-per-node={devices}, or give other numbers to the trainer"
        )
    os.environ["SLURM_NTASKS_PER_NODE"] = str(devices)  # Lightning refuses jobs that were given --ntasks instead
    if nodes > 1:
        require_address(SLURMEnvironment().main_address)


def require_address(node: str) -> None:
    """Check that the other nodes can find the first one, before all of them ask for it in vain for half an hour.

    Raises:
        InputError: its name has no address.
    """
    try:
        socket.getaddrinfo(node, None)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME:  # a name server that does not answer now may answer later
            return
        raise InputError(
            f"expected an address of {node}, the first node of this job, found none; export MASTER_ADDR=ADDRESS, as "
            "the other nodes reach it, before srun"
        ) from error


def number_of(devices: int | str | list[int]) -> int:
    """How many devices the trainer's argument means: 2, "2", "0,1" or [0, 1]."""
    if isinstance(devices, str):
        return len([name for name in devices.split(",") if name.strip()]) if "," in devices else int(devices)
    return devices if isinstance(devices, int) else len(devices)


def requeues(signum: int) -> bool:
    """Whether this process is of a SLURM job that goes on later.

    That is after SIGUSR1, which `sbatch --signal` sends before the time limit, and after SIGTERM where a job of a
    higher priority takes the nodes. `scancel` sends SIGTERM too, and ends the job.
    """
    if "SLURM_JOB_ID" not in os.environ or not SLURMEnvironment.detect():
        return False
    if signum != signal.SIGTERM:
        return signum == signal.SIGUSR1
    return bool(re.search(r"PreemptTime=\d", scontrol("show", "job", job()).stdout))


def requeue() -> str:
    """Put the job back into the queue, and say so or why not; SLURM then ends it."""
    done = scontrol("requeue", job())
    return f"SLURM job {job()} is queued again" if done.returncode == 0 else done.stderr.strip()


def scontrol(*arguments: str) -> subprocess.CompletedProcess[str]:
    """SLURM's command, or its failure where there is none, as in many containers."""
    command = ["scontrol", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        told = f"SLURM job {job()} could not be queued again: scontrol: {error.strerror}; submit it again"
        return subprocess.CompletedProcess(command, 127, "", told)


def job() -> str:
    """The job's id for scontrol, that of one task where the job is an array."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]
