"""Progress as plain lines: for logs, and wherever there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.core.progress import Advance, Progress

LINE_SECONDS = 2.0
"""Shortest time between two lines of one task."""
LINE_SHARE = 0.1
"""A line is due when so much more of the task is done..."""
LINE_WAIT = 30.0
"""...or when so many seconds have passed."""


def to_stderr(text: str) -> None:
    """Print one line to stderr."""
    print(text, file=sys.stderr, flush=True)


class LineProgress(Progress):
    """Says done, total, rate and time left, in few lines.

    Args:
        say: Prints a line.
    """

    def __init__(self, say: Callable[[str], None] = to_stderr) -> None:
        self._say = say

    @contextmanager
    def task(
        self, description: str, total: int | None, unit: str = "it", done: int = 0
    ) -> Iterator[Advance]:
        """Report one task."""
        lines = LineTask(self._say, description, total, unit, done)
        yield lines.advance
        lines.finish()

    def message(self, text: str) -> None:
        """Print one line."""
        self._say(text)


class LineTask:
    """Progress of one task as plain lines: few enough for a log, often enough to see it live."""

    def __init__(
        self, say: Callable[[str], None], description: str, total: int | None, unit: str, done: int
    ) -> None:
        self._say = say
        self._description, self._total, self._unit = description, total, unit
        self._begun_at, self._done, self._note = done, done, ""
        self._start = self._last_time = time.monotonic()
        self._last_done = done

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count, and print a line when one is due."""
        self._done += n
        self._note = note or self._note
        waited = time.monotonic() - self._last_time
        share = (self._done - self._last_done) / self._total if self._total else 0.0
        if waited >= LINE_WAIT or (waited >= LINE_SECONDS and share >= LINE_SHARE):
            self._print()

    def finish(self) -> None:
        """Print the last line, unless it was just printed."""
        if self._last_done < self._done or self._done == self._begun_at:
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        self._last_time, self._last_done = now, self._done
        rate = (self._done - self._begun_at) / max(now - self._start, 1e-9)
        of = f"/{self._total:,} {self._unit}s" if self._total is not None else f" {self._unit}s"
        parts = [f"{self._description}: {self._done:,}{of}"]
        if self._done > self._begun_at:
            parts.append(format_rate(rate, self._unit))
            if self._total is not None and self._done < self._total:
                parts.append(f"{format_seconds((self._total - self._done) / rate)} left")
            else:
                parts.append(f"took {format_seconds(now - self._start)}")
        self._say(", ".join(parts + [self._note] * bool(self._note)))


def format_rate(rate: float, unit: str) -> str:
    """Write a rate: ``12 records/s``, or ``3.5 s/record`` where it is slow."""
    if rate < 1:
        return f"{1 / rate:.3g} s/{unit}" if rate < 0.01 else f"{1 / rate:.1f} s/{unit}"
    return f"{rate:,.0f} {unit}s/s" if rate >= 10 else f"{rate:.1f} {unit}s/s"


def format_seconds(seconds: float) -> str:
    """Write a duration: ``48 s``, ``3 min 5 s``, ``2 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
