"""The processes of a command end together: where one has died, the others do not wait for it."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from earshot.told import hush, tell

LOST = re.compile("gloo/|NCCL|TCPStore|by peer|recvValue")  # in the errors of torch.distributed
PATIENCE = 20  # seconds in which Lightning's observer has looked at the other processes


class AllArrive(L.Callback):
    """At the end of test and predict, wait for all ranks: the first would end well where another has died on the way.

    Not longer: rank 0 scores alone afterwards, which takes Java its time.
    """

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """All ranks have had their batches."""
        trainer.strategy.barrier("all batches")

    on_predict_epoch_end = on_test_epoch_end


@contextmanager
def ended_together() -> Iterator[None]:
    """End a process that has lost another without a traceback of its own; the first one says which has died.

    Where the first has died itself, those that it started end soon, and not when torch gives up after half an hour.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        threading.Thread(target=end_after, args=(os.getppid(),), daemon=True).start()
    observer: Any = _ChildProcessObserver
    observer._terminate_all = end_all  # Lightning's kills this process without a line
    try:
        yield
    except RuntimeError as error:
        if not LOST.search(str(error)):
            raise
        if os.environ.get("LOCAL_RANK", "0") == "0":
            time.sleep(PATIENCE)  # meanwhile `end_all` ends this process
            raise
        raise SystemExit(1) from None


def end_after(parent: int) -> None:
    """Called in a thread of a process that `parent` started: end it when that is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(PATIENCE)
    os._exit(1)


def end_all(observer: Any) -> None:
    """Called in the first process, in a thread, when one that it started has ended with an error."""
    codes = {rank: process.poll() for rank, process in enumerate(observer._child_processes, 1)}
    for process in observer._child_processes:
        process.kill()
    # a process that lost another ends with 1
    rank, code = min(((rank, code) for rank, code in codes.items() if code), key=lambda ended: ended[1] == 1)
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if code != 2:  # that one has said why
        tell(
            f"error: expected all processes to go on, found that of rank {rank} ended by {how}; look above for why, or "
            "at the machine's memory; fit resumes with the same command and --ckpt_path resume"
        )
    hush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 - code if code < 0 else code)
