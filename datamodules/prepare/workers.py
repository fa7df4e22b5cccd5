"""A function over many jobs in several processes: results in order, and a process that dies costs one job."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")

AHEAD = 2  # jobs that a process holds, so that it need not wait for the next
CRASHED = "the decoder crashed"
WINDOW = 8  # times as many jobs as processes may be ahead of the oldest without a result


class Died:
    """In place of the result of a job whose process died, as of a crash in native code or for lack of memory."""

    def __init__(self, exitcode: int | None) -> None:
        self.exitcode = exitcode

    def __str__(self) -> str:
        code = self.exitcode or 0
        return f"{CRASHED} ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


class _Worker(Generic[J]):
    """A process, and the jobs that it holds, oldest first."""

    def __init__(self, function: Callable[[J], Any]) -> None:
        # not fork: a forked child would hold the other pipes open, and outlive a killed parent
        context = get_context("forkserver")
        context.set_forkserver_preload([function.__module__])
        self.function = function
        self.held: deque[tuple[int, J]] = deque()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(function, theirs), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # all inherit this: the parent ends them at Ctrl-C
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)
        self.process.start()
        theirs.close()

    def give(self, number: int, job: J) -> None:
        self.held.append((number, job))
        with suppress(OSError):  # it died; `receive` will say so
            self.pipe.send(job)

    def receive(self) -> tuple[int, Any]:
        """The number and result of its oldest job."""
        try:
            result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            result = Died(self.process.exitcode)
        return self.held.popleft()[0], result

    def end(self) -> None:
        self.process.terminate()  # before the pipe is closed to which it may be writing
        self.process.join()
        self.pipe.close()


def in_order(function: Callable[[J], R], jobs: Iterable[J], workers: int) -> Iterator[tuple[J, R | Died]]:
    """Each job with its result, in the order of the jobs.

    Memory holds at most WINDOW results for each process.

    Args:
        function: of a module, so that a process can import it; what it raises ends its process.
        jobs: small: a process gets its next before it has answered the last.
        workers: processes.
    """
    numbered = enumerate(jobs)
    waiting: dict[int, J] = {}  # given to a worker, and not yielded
    results: dict[int, R | Died] = {}
    pool: list[_Worker[J]] = [_Worker(function) for _ in range(workers)]
    oldest = 0
    more = True
    try:
        while more or waiting:
            for depth in range(AHEAD):
                for worker in pool:
                    if more and len(worker.held) <= depth and len(waiting) < WINDOW * workers:
                        following = next(numbered, None)
                        if following is None:
                            more = False
                        else:
                            waiting[following[0]] = following[1]
                            worker.give(*following)
            busy = [worker.pipe for worker in pool if worker.held]
            ready = wait(busy) if busy else []  # of none it would wait forever
            for place, worker in enumerate(pool):
                if worker.pipe in ready:
                    number, result = worker.receive()
                    results[number] = result
                    if isinstance(result, Died):
                        worker.end()
                        pool[place] = _Worker(function)
                        for held in worker.held:
                            pool[place].give(*held)
            while oldest in results:
                yield waiting.pop(oldest), results.pop(oldest)
                oldest += 1
    finally:
        for worker in pool:
            worker.end()


def _work(function: Callable[[J], R], pipe: Connection) -> None:
    """Answer jobs until the parent closes the pipe, or dies."""
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(function(job))
