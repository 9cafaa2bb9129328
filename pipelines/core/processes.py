"""Worker processes that end with their parent, and errors that explain their death."""

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
from pipelines.core.temporary import named_semaphores

KILLED = -9
"""Exit code of a process that SIGKILL ended; Windows does not know the signal by name."""

UNCAUGHT = 1
"""Exit code of a Python program that ends by an exception. Exceptions of tasks are caught, so it
comes from the steps before them: imports, and unpickling the worker's arguments."""

AHEAD = 4
"""Tasks per worker that `Workers.in_order` keeps under way; their results are in memory."""

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

ResultT = TypeVar("ResultT")

_number = 0
"""See `worker_number`; `_begin` sets it in a worker."""


class Workers:
    """A pool of spawned processes, for use in a ``with`` statement.

    No process starts before there is a task for it. Ctrl-C ends all of them at once, and the death
    of one raises an error that explains it.

    Args:
        count: Most processes.
        what: The work, as an error names it.
        threads: Threads of the numerical libraries in each process.
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
        with named_semaphores():
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
        """End the processes; tasks that have not begun are dropped.

        If this process is to stop, those under way are too: only a terminal's Ctrl-C reaches the
        workers by itself.
        """
        if error is not None and not isinstance(error, Exception):
            for worker in self._started:
                worker.terminate()
        self._pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            # Exit codes are known now that all workers have ended.
            why, hint = explain_death([worker.exitcode for worker in self._started])
            hint = f"{hint} Finished work is kept."
            raise KaleidoError(self._what, why, hint, code="worker-died") from error

    def submit(self, function: Callable[..., ResultT], *arguments: Any) -> Future[ResultT]:
        """Call a function in a process; it and its arguments must be picklable."""
        with child_threads(self._threads):
            future = self._pool.submit(function, *arguments)
        # At once: a process that has ended is no longer among them.
        self._started |= set(multiprocessing.active_children()) - self._others
        return future

    def in_order(
        self, function: Callable[..., ResultT], tasks: Iterable[tuple[Any, ...]]
    ) -> Iterator[ResultT]:
        """Yield a function's results for each task's arguments, in the order of the tasks.

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
        raise KaleidoError(
            "--workers", f"{count} is too few.", "Give 1 or more.", code="bad-option"
        )


def explain_death(codes: Iterable[int | None]) -> tuple[str, str]:
    """Explain why a pool broke, and what to do.

    Args:
        codes: Exit codes of its workers, below 0 for a signal; None where it is not known.

    Returns:
        The reason, and a hint.
    """
    # The pool itself terminates the others when one has died.
    code = next((code for code in codes if code not in (None, 0, -signal.SIGTERM)), KILLED)
    if code == UNCAUGHT:
        why = "a worker process could not start; its own error stands above."
        return why, "Fix that error first, for example a module that cannot be imported."
    if code == KILLED:
        why = "a worker process was killed, perhaps because memory ran out."
        return why, "Run again with fewer workers."
    end = f"by exit code {code}" if code > 0 else f"by a signal: {signal.strsignal(-code)}"
    why = f"a worker process ended {end}; a library that it uses has failed."
    return why, "Run again with --workers 1 to see its last message."


@contextmanager
def child_threads(count: int) -> Iterator[None]:
    """Limit the numerical libraries of processes that are started inside this context.

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
    # Ctrl-C reaches the whole process group: end at once, without a traceback.
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
