"""Running a coroutine from code that is not asynchronous, also inside a notebook's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own, on a thread, and return what it returns.

    An interruption of the caller, such as Ctrl-C, cancels it.
    """
    cancel: list[Callable[[], object]] = []

    async def main() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # a coroutine that runs belongs to one
        cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return await coroutine

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(asyncio.run, main())
        try:
            return future.result()
        except BaseException:
            if cancel and not future.done():
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                    cancel[0]()
            raise
