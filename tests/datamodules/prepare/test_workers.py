"""Jobs in several processes: order, how far ahead they run, and processes that die."""

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess

import pytest

from datamodules.prepare.workers import WINDOW, Died, in_order


def square(number: int) -> int:
    """The square; 13 crashes, 14 leaves, and the first job takes the longest."""
    if number == 0:
        time.sleep(0.3)
    if number == 13:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 14:
        os._exit(3)
    return number * number


def test_results_come_in_order_and_a_death_costs_one_job() -> None:
    results = list(in_order(square, range(30), 3))
    assert [job for job, _ in results] == list(range(30))
    died = {job: str(result) for job, result in results if isinstance(result, Died)}
    assert died == {13: "the decoder crashed (SIGSEGV)", 14: "the decoder crashed (exit code 3)"}
    assert all(result == job * job for job, result in results if job not in died)


@pytest.mark.parametrize("workers", [1, 3])
def test_jobs_are_not_taken_far_ahead(workers: int) -> None:
    taken = 0

    def jobs() -> Iterator[int]:
        nonlocal taken
        for number in range(15, 100):
            taken += 1
            yield number

    for given, (job, result) in enumerate(in_order(square, jobs(), workers)):
        assert result == job * job
        assert taken - given <= WINDOW * workers
    assert taken == 85


def large(number: int) -> bytes:
    """More than a pipe holds, so that a process is writing it when it is ended."""
    return bytes(2**20)


def test_processes_are_ended_before_their_pipes_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a busy machine, where that takes long; a broken pipe would be a traceback of each."""
    ended: list[ForkServerProcess] = []
    terminate = ForkServerProcess.terminate

    def late(process: ForkServerProcess) -> None:
        time.sleep(0.3)
        ended.append(process)
        terminate(process)

    monkeypatch.setattr(ForkServerProcess, "terminate", late)
    results = in_order(large, range(30), 3)
    next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert [process.exitcode for process in ended] == [-signal.SIGTERM] * 3


def test_nothing_to_do_is_done() -> None:
    assert list(in_order(square, [], 2)) == []
