"""Plain progress lines for the recipes, which run for hours and write to log files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from pipelines.core.progress import Advance, Progress

SECONDS = 20.0
"""Time between two lines of one task."""


class PlainProgress(Progress):
    """Prints a line every `SECONDS`: done, total, rate, time left and the note."""

    @contextmanager
    def task(
        self, description: str, total: int | None, unit: str = "it", done: int = 0
    ) -> Iterator[Advance]:
        """Report one task."""
        count, began, spoke = done, monotonic(), monotonic()

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal count, spoke
            count += n
            now = monotonic()
            if now - spoke >= SECONDS or count == total:
                spoke = now
                rate = (count - done) / max(now - began, 1e-9)
                left = f", {(total - count) / rate / 60:.1f} min left" if total else ""
                of = f"/{total}" if total else ""
                self.message(f"{description} {count}{of} {unit}, {rate:.2f}/s{left}  {note}")

        yield advance

    def message(self, text: str) -> None:
        """Print one line to stderr."""
        print(text, file=sys.stderr, flush=True)
