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
