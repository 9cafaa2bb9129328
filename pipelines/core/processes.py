"""Worker processes that end when they are told to, and say why when they break."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from pipelines.core.errors import KaleidoError

KILLED = -9
"""Exit code of what SIGKILL ended, which Windows does not know by name."""

UNCAUGHT = 1
"""Exit code of a Python program that ends by an exception. Those of tasks are caught, so it comes
from what precedes them: imports, and reading what the worker is given."""

AHEAD = 4
"""Tasks a worker that `Workers.in_order` keeps under way; what they give is in memory."""

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

ResultT = TypeVar("ResultT")

_number = 0
"""See `worker_number`; `_begin` sets it in a worker."""


class Workers:
    """A pool of spawned processes, to be used in a ``with`` statement.

    No process starts before there is a task for it. Ctrl-C ends all of them at once, and the death
    of one raises an error that says why.

    Args:
        count: Most processes.
        what: Names the work in an error.
        threads: Of the numerical libraries in each process.
        prepare: Called once in each process, with `given`.
        given: Arguments of `prepare`.

    Raises:
        KaleidoError: If `count` is below 1, and on leaving, if a process has died.
    """

    def __init__(
        self,
        count: int,
        what: str,
        threads: int = 1,
        prepare: Callable[..., None] | None = None,
        given: tuple[Any, ...] = (),
    ) -> None:
        check_workers(count)
        self._count, self._what, self._threads = count, what, threads
        context = multiprocessing.get_context("spawn")
        numbers = context.SimpleQueue()
        for number in range(count):
            numbers.put(number)
        self._pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin, initargs=(numbers, prepare, given)
        )
        self._others = set(multiprocessing.active_children())
        self._started: set[BaseProcess] = set()

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes; tasks that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            # Exit codes are known now that all workers have ended.
            why, hint = explain_death([worker.exitcode for worker in self._started])
            raise KaleidoError(self._what, why, f"{hint} What is finished is kept.") from error

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Have a function called in a process; it and its arguments must be picklable."""
        with child_threads(self._threads):
            future = self._pool.submit(function, *arguments)
        # At once: a process that has ended is no longer among them.
        self._started |= set(multiprocessing.active_children()) - self._others
        return future

    def in_order(
        self, function: Callable[..., ResultT], tasks: Iterable[tuple[Any, ...]]
    ) -> Iterator[ResultT]:
        """Yield what a function gives for each task's arguments, in the order of the tasks.

        A single worker is this process. With more, `AHEAD` tasks a worker are under way.
        """
        if self._count == 1:
            yield from (function(*task) for task in tasks)
            return
        under_way: deque[Future[ResultT]] = deque()
        for task in tasks:
            under_way.append(self.submit(function, *task))
            if len(under_way) == AHEAD * self._count:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def worker_number() -> int:
    """This process's number among its pool's workers, from 0; 0 outside of a pool."""
    return _number


def check_workers(count: int) -> None:
    """Raise KaleidoError if a number of workers is below 1."""
    if count < 1:
        raise KaleidoError("workers", f"{count} is too few.", "Give 1 or more.")


def explain_death(codes: Iterable[int | None]) -> tuple[str, str]:
    """Say why a pool broke, and what to do.

    Args:
        codes: Exit codes of its workers, below 0 for a signal; None where it is not known.

    Returns:
        Why, and the mend.
    """
    # The pool itself terminates the others when one has died.
    code = next((code for code in codes if code not in (None, 0, -signal.SIGTERM)), KILLED)
    if code == UNCAUGHT:
        why = "a worker process could not start; its own error stands above."
        return why, "Mend what that says: a module that cannot be imported, say."
    if code == KILLED:
        why = "a worker process was killed, perhaps for want of memory."
        return why, "Run again with fewer workers."
    end = f"by exit code {code}" if code > 0 else f"by a signal: {signal.strsignal(-code)}"
    why = f"a worker process ended {end}; a library that it uses has failed."
    return why, "Run again with --workers 1, and look at what it says last."


@contextmanager
def child_threads(count: int) -> Iterator[None]:
    """Limit the numerical libraries of processes that are started meanwhile.

    They read these variables when they are loaded, which is before any code of ours runs.
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(
    numbers: SimpleQueue[int], prepare: Callable[..., None] | None, given: tuple[Any, ...]
) -> None:
    global _number
    _number = numbers.get()
    # Ctrl-C reaches the whole group: a worker then ends at once, without a traceback of its own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(*given)


def _end_with_parent() -> None:
    """End this process when its parent is killed; it would otherwise wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
