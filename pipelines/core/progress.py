"""Progress of long work: who does it reports to a `Progress` and does not know who listens."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_LINE = 5.0
"""Seconds after which a task prints its first line, so that its length is known early."""
LINE_SECONDS = 2.0
"""Shortest time between two lines of one task."""
LINE_SHARE = 0.1
"""A line is due once this share of the task has been done since the last one..."""
LINE_WAIT = 30.0
"""...or after this many seconds."""

FORGET_SECONDS = 30.0
"""Time constant of `Pace`: units that are this old weigh 1/e."""

Advance = Callable[..., None]
"""``advance(n=1, note="")``: n more units are done; the note, e.g. a loss, replaces the last."""

Clock = Callable[[], float]


class Progress:
    """A silent listener, for library use and tests. Subclasses draw bars or print lines."""

    @contextmanager
    def task(
        self, description: str, total: int | None, unit: str = "it", done: int = 0
    ) -> Iterator[Advance]:
        """Open a task.

        Args:
            description: Names it.
            total: Number of units, or None if unknown.
            unit: What is counted, singular.
            done: Units finished by an earlier run.
        """
        yield lambda n=1, note="": None

    def message(self, text: str) -> None:
        """Tell the user one line. It goes to stderr, never to stdout."""


SILENT = Progress()


class Pace:
    """Rate of a task as an exponential average, which forgets how fast it once was.

    Sums of units and of seconds decay with the time constant `FORGET_SECONDS`; the rate is their
    ratio, so the first units count in full and irregular steps weigh by their length.

    Args:
        clock: Seconds from any origin.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock, self._last = clock, clock()
        self._units = self._seconds = 0.0

    def advance(self, n: int) -> None:
        """Count n units as done now."""
        now = self._clock()
        elapsed = now - self._last
        kept = math.exp(-elapsed / FORGET_SECONDS)
        self._units, self._seconds = self._units * kept + n, self._seconds * kept + elapsed
        self._last = now

    @property
    def rate(self) -> float:
        """Units per second; 0 before the first unit."""
        return self._units / max(self._seconds, 1e-9)


class LineProgress(Progress):
    """Reports in plain lines: for logs, and wherever there is no terminal.

    Args:
        say: Prints a line; by default to stderr.
        clock: Seconds from any origin.
    """

    def __init__(
        self, say: Callable[[str], None] | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._say, self._clock = say or _to_stderr, clock

    @contextmanager
    def task(
        self, description: str, total: int | None, unit: str = "it", done: int = 0
    ) -> Iterator[Advance]:
        """Report one task."""
        lines = LineTask(self._say, description, total, unit, done, self._clock)
        yield lines.advance
        lines.finish()

    def message(self, text: str) -> None:
        """Print one line."""
        self._say(text)


class LineTask:
    """One task in plain lines: few enough for a log, often enough to see that it is alive."""

    def __init__(
        self,
        say: Callable[[str], None],
        description: str,
        total: int | None,
        unit: str,
        done: int,
        clock: Clock = time.monotonic,
    ) -> None:
        self._say, self._clock, self._pace = say, clock, Pace(clock)
        self._description, self._total, self._unit = description, total, unit
        self._begun_at, self._done, self._note = done, done, ""
        self._start = self._last_time = clock()
        self._last_done = done

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count units, and print a line when one is due."""
        self._done += n
        self._note = note or self._note
        self._pace.advance(n)
        if self._is_due():
            self._print()

    def finish(self) -> None:
        """Print the last line, unless it has just been printed."""
        if self._last_done < self._done or self._done == self._begun_at:
            self._print()

    def _is_due(self) -> bool:
        waited = self._clock() - self._last_time
        if self._last_time == self._start and waited >= FIRST_LINE:
            return True
        share = (self._done - self._last_done) / self._total if self._total else 0.0
        return waited >= LINE_WAIT or (waited >= LINE_SECONDS and share >= LINE_SHARE)

    def _print(self) -> None:
        now = self._clock()
        self._last_time, self._last_done = now, self._done
        of = f"/{self._total:,} {self._unit}s" if self._total is not None else f" {self._unit}s"
        parts = [f"{self._description}: {self._done:,}{of}"]
        if self._done > self._begun_at:
            parts.append(format_rate(self._pace.rate, self._unit))
            if self._total is not None and self._done < self._total:
                left = (self._total - self._done) / self._pace.rate
                parts.append(f"{format_seconds(left)} left")
            else:
                parts.append(f"took {format_seconds(now - self._start)}")
        self._say(", ".join(parts + [self._note] * bool(self._note)))


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def format_rate(rate: float, unit: str) -> str:
    """Write a rate: ``12 records/s``, or ``3.5 s/record`` if it is slow."""
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
