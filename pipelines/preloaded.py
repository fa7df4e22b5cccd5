"""python pipelines/preloaded.py: a process that has imported the libraries of train.py, and forks one for each job.

Imports take most of the time of the miniature's short jobs. The process prints the socket that it listens at, which
step.py finds in EARSHOT_PRELOADED, and ends with the process that started it. A forked job has the arguments, working
folder, environment and output of the step that asks for it, and reads all of the project's code itself. What libraries
read from the environment when they are imported is that of the graph's start, and the memory that a job reports
includes the libraries'.
"""

import atexit
import gc
import json
import os
import runpy
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

PLACE = "EARSHOT_PRELOADED"
NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
IMPORTED = (  # without W&B: it makes folders at its import, which the first job to end would remove from all others
    "av", "jsonargparse", "lightning.pytorch.cli", "matplotlib.pyplot", "ot", "peft", "transformers.generation.utils",
    "transformers.models.auto.modeling_auto", "transformers.models.clap.modeling_clap",
    "transformers.models.clip.modeling_clip", "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.gpt2.modeling_gpt2", "transformers.models.llava.modeling_llava", "webdataset",
)  # fmt: skip
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def import_everything() -> None:
    """Before the first fork."""
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # collecting in a child would copy the pages it shares


class Job:
    """A script that a preloaded process runs, as `subprocess.Popen` would.

    Args:
        command: the interpreter, the script and its arguments.
        output: file descriptor of what it prints.
        kept: file descriptor of the lock, which it keeps open.

    Raises:
        OSError: no preloaded process listens.
    """

    def __init__(self, command: list[str], output: int, kept: int) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.environ[PLACE])
        self.answers = connection.makefile()
        self.answers.readline()  # that the imports are done
        asked = {"argv": command[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(asked).encode()], [output, kept])
        connection.shutdown(socket.SHUT_WR)
        self.pid = int(self.answers.readline())

    def wait(self) -> int:
        """The exit code, negative for the signal that ended it; 1 where the process that waits for it was killed."""
        return int(self.answers.readline() or 1)


def start(command: list[str], output: int, kept: int) -> "Job | subprocess.Popen[bytes]":
    """The command: forked where it is a Python script and a preloaded process listens, by itself otherwise, as in a job
    of SLURM, which has processes, cores and memory of its own."""
    if command[0] == sys.executable and Path(*command[1:2]).suffix == ".py" and "SLURM_JOB_ID" not in os.environ:
        try:
            return Job(command, output, kept)
        except (KeyError, OSError, ValueError):
            pass
    return subprocess.Popen(command, pass_fds=[kept], stdout=output, stderr=subprocess.STDOUT)


class Handler(socketserver.BaseRequestHandler):
    """Has a job forked, and says its process and its exit code. It is a process of its own."""

    server: "Server"

    def handle(self) -> None:
        """Read what step.py sends, fork, and answer with two lines; nothing where step.py was killed meanwhile."""
        self.server.socket.close()
        with suppress(OSError):
            self.request.sendall(b"\n")
            data, descriptors, *_ = socket.recv_fds(self.request, 2**16, 2)
            while more := self.request.recv(2**16):
                data += more
            if not data:
                return
            pid = os.fork()
            if not pid:
                self.request.close()
                become(**json.loads(data), output=descriptors[0])
            for descriptor in descriptors:
                os.close(descriptor)
            for signum in SIGNALS:  # for the job; this waits for it
                signal.signal(signum, signal.SIG_IGN)
            self.request.sendall(f"{pid}\n".encode())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self.request.sendall(f"{code}\n".encode())


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Ends with its parent; jobs that run then go on."""

    block_on_close = False
    max_children = 10**6  # at the default of 40 it would let jobs wait
    request_queue_size = 100
    parent = os.getppid()

    def service_actions(self) -> None:
        """Twice a second, look whether the parent lives."""
        super().service_actions()
        if os.getppid() != self.parent:
            raise SystemExit


def become(argv: list[str], folder: str, environment: dict[str, str], output: int) -> NoReturn:
    """End this forked process as one that runs `python ARGV` in the folder, with that environment and output."""
    code = 1
    try:
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.close(output)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        if threads := environment.get("OMP_NUM_THREADS"):
            import_module("torch").set_num_threads(int(threads))
        for signum in SIGNALS:
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
        tempfile.tempdir = None  # to be found anew in this environment
        sys.argv, sys.path[0] = argv, str(Path(argv[0]).absolute().parent)
        runpy.run_path(argv[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        # what an interpreter does at its end; the stubs leave it out, as it has no public name
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Listen, say where, import, and serve."""
    sys.path[0] = str(Path(__file__).absolute().parents[1])
    for signum in SIGNALS:
        signal.signal(signum, lambda *_: sys.exit(1))
    # what train.py sets before it imports torch; one thread a job; an import that asks for GPUs must not start CUDA
    for name, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("OPENBLAS_NUM_THREADS", "1"), (NVML, "1")):
        os.environ.setdefault(name, value)
    # a socket's path must be short; the folder is for its owner alone
    folder = tempfile.mkdtemp(prefix="earshot-", dir="/tmp")
    try:
        with Server(f"{folder}/socket", Handler) as server:
            print(server.server_address, flush=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            import_everything()
            server.serve_forever()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
