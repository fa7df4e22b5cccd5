import os
import signal

import pytest

from earshot.signals import SIGNALS, Stopped


def test_a_second_signal_does_not_cut_off_what_the_first_began() -> None:
    """As SLURM sends SIGTERM to a job that is to be queued again after SIGUSR1."""
    with SIGNALS.handled():
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert stopped.value.code == 128 + signal.SIGUSR1
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)
    with SIGNALS.handled(), pytest.raises(Stopped):  # another command of the same process
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_training_awaits_is_only_noted() -> None:
    with SIGNALS.handled():
        SIGNALS.awaited = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert SIGNALS.received == signal.SIGTERM and not SIGNALS.ending


def test_a_warning_of_the_time_limit_after_the_end_does_not_fail_the_command() -> None:
    """SIGUSR1 ends a process that has no handler, with an exit code that SLURM takes for a failure."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        with SIGNALS.handled():
            pass
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
