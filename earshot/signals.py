"""The signals that end a command: at once, or in training when the state is saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(SystemExit):
    """The command ends for a signal. Its exit code is 128 and the signal's number, as a shell's.

    Args:
        signum: number of the signal.
        saved: in training: all ranks have saved their state and end after the same step.
    """

    def __init__(self, signum: int, saved: bool = False) -> None:
        super().__init__(128 + signum)
        self.signum, self.saved = signum, saved


class Signals:
    """What came since the command began.

    Attributes:
        received: number of the signal that training is to stop for, 0 for none.
        awaited: training looks at `received` after each step; otherwise a signal raises `Stopped` where it comes.
        ending: the command ends for a signal already, and lets nothing but Ctrl-C hurry it: SLURM sends SIGTERM to a
            job that it requeues.
    """

    def __init__(self) -> None:
        self.received = 0
        self.awaited = False
        self.ending = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Called by Python: only note the signal, as other ranks wait for this one; a second Ctrl-C does not wait."""
        if self.ending and signum != signal.SIGINT:
            return
        if not self.awaited:
            self.ending = True
            raise Stopped(signum)
        if signum == signal.SIGINT == self.received:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif signum == signal.SIGINT and os.environ.get("LOCAL_RANK", "0") == "0":
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, without saving\n")
        self.received = self.received or signum

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals in the block."""
        self.__init__()  # type: ignore[misc]  # anew for each command of a process
        main = threading.current_thread() is threading.main_thread()  # Python handles signals there alone
        before = {signum: signal.signal(signum, self.handle) for signum in (STOPPING if main else ())}
        try:
            yield
        finally:
            for signum, handler in before.items():  # SIGUSR1 would fail a process that is done and only has to exit
                late = signum == signal.SIGUSR1 and handler == signal.SIG_DFL
                signal.signal(signum, signal.SIG_IGN if late else handler)


SIGNALS = Signals()
